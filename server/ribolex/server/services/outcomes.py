"""What became of sequences, counted.

Knows what encodings tell of themselves; nothing of messages.
"""

from typing import Any

from ribolex.errors import InvalidRequestError
from ribolex.server.engine.encoding import Encoding
from ribolex.server.engine.front import Answer
from ribolex.server.engine.plan import Lane
from ribolex.server.metrics import Metrics
from ribolex.server.status import reason_of


def count_answer(metrics: Metrics, lane: Lane, answer: Answer[Any]) -> None:
    """Counts refusals by their reason; notes waits, lengths and FVUs."""
    metrics.queue_seconds.labels(lane.name.lower()).observe(answer.queue_s)
    for outcome in answer.outcomes:
        if isinstance(outcome, InvalidRequestError):
            metrics.rejected_sequences.labels(reason_of(outcome).lower()).inc()
        elif isinstance(outcome, Encoding):
            metrics.sequence_nucleotides.observe(len(outcome.codes))
            metrics.fvu.observe(outcome.fvu)

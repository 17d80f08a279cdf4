"""What became of sequences, counted.

Knows what encodings tell of themselves; nothing of messages.
"""

from collections.abc import Iterable

from ribolex.errors import InvalidRequestError
from ribolex.server.engine.encoding import Encoding
from ribolex.server.metrics import Metrics
from ribolex.server.status import reason_of


def count_outcomes(
    metrics: Metrics, outcomes: Iterable[Encoding | InvalidRequestError]
) -> None:
    """Counts refusals by their reason; notes length and FVU of what was encoded."""
    for outcome in outcomes:
        if isinstance(outcome, InvalidRequestError):
            metrics.rejected_sequences.labels(reason_of(outcome).lower()).inc()
        else:
            metrics.sequence_nucleotides.observe(len(outcome.codes))
            metrics.fvu.observe(outcome.fvu)

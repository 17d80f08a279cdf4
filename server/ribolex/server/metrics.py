"""Everything that a server counts and measures, under the names of docs/metrics.md.

One object owns one registry and is handed down; there is no global one. Labels are
from closed sets: methods, codes, kinds of errors. Knows nothing of where the numbers
come from.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `Metrics.exposed` gives."""

_SECONDS = tuple(0.0005 * 2**i for i in range(18))
"""Half a millisecond to a minute."""
_LENGTHS = tuple(2.0**i for i in range(4, 18))
_ROWS = tuple(2.0**i for i in range(10))
_TOKENS = tuple(2.0**i for i in range(4, 20))
_FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)


@dataclass(frozen=True, slots=True)
class Reading:
    """A number that is looked up whenever the metrics are asked for."""

    name: str
    """Without "ribolex_"."""
    help: str
    read: Callable[[], float | Mapping[tuple[str, ...], float]]
    """Gives it; or one for each tuple of values of the labels."""
    labels: tuple[str, ...] = ()


class Metrics:
    """The metrics of one server. Thread-safe."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "ribolex_requests", "Calls that ended.", ["method", "code"],
            registry=registry,
        )  # fmt: skip
        self.request_seconds = Histogram(
            "ribolex_request_seconds", "How long calls took, streams as a whole.",
            ["method"], buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.open_requests = Gauge(
            "ribolex_open_requests", "Calls in progress.", ["method"],
            registry=registry,
        )  # fmt: skip
        self.rejected_requests = Counter(
            "ribolex_rejected_requests", "Calls that failed by an error of ours.",
            ["reason"], registry=registry,
        )  # fmt: skip
        self.rejected_sequences = Counter(
            "ribolex_rejected_sequences", "Sequences refused in calls that succeeded.",
            ["reason"], registry=registry,
        )  # fmt: skip
        self.received_sequences = Counter(
            "ribolex_received_sequences", "Sequences that came in.", registry=registry
        )
        self.received_nucleotides = Counter(
            "ribolex_received_nucleotides", "Their letters.", registry=registry
        )
        self.sequence_nucleotides = Histogram(
            "ribolex_sequence_nucleotides", "Lengths of the sequences encoded.",
            buckets=_LENGTHS, registry=registry,
        )  # fmt: skip
        self.fvu = Histogram(
            "ribolex_fvu_ratio",
            "Variance that codes leave unexplained, of each sequence encoded.",
            buckets=_FRACTIONS, registry=registry,
        )  # fmt: skip
        self.scanned_variants = Counter(
            "ribolex_scanned_variants", "Variants whose effects were told.",
            registry=registry,
        )  # fmt: skip
        self.compared_rnas = Counter(
            "ribolex_compared_rnas", "RNAs of groups that were compared.",
            registry=registry,
        )  # fmt: skip
        self.queue_seconds = Histogram(
            "ribolex_queue_seconds", "How long a request waited.", ["lane"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        for lane in ("interactive", "bulk"):
            self.queue_seconds.labels(lane)
        self.stage_seconds = Histogram(
            "ribolex_stage_seconds", "How long a batch took, by stage.", ["stage"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.batch_tokens = Histogram(
            "ribolex_batch_tokens", "Tokens of a batch.",
            buckets=_TOKENS, registry=registry,
        )  # fmt: skip
        self.batch_windows = Histogram(
            "ribolex_batch_windows", "Sequences, or windows of long ones, of a batch.",
            buckets=_ROWS, registry=registry,
        )  # fmt: skip
        self.failed_batches = Counter(
            "ribolex_failed_batches", "Batches, or parts, that failed for good.",
            registry=registry,
        )  # fmt: skip
        self.dropped_requests = Counter(
            "ribolex_dropped_requests", "Callers that left, or were late, unanswered.",
            ["reason"], registry=registry,
        )  # fmt: skip
        for reason in ("cancelled", "expired"):
            self.dropped_requests.labels(reason)
        self.feature_search_reads = Counter(
            "ribolex_feature_search_reads",
            "RNAs whose codes were read to answer feature queries.", registry=registry,
        )  # fmt: skip
        self.reload_failures = Counter(
            "ribolex_reload_failures",
            "Changed files (tokens, certificates) that could not be taken.",
            registry=registry,
        )

        self.swap_seconds = Histogram(
            "ribolex_dictionary_swap_seconds",
            "How long it took until another version was served.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.swap_failures = Counter(
            "ribolex_dictionary_swap_failures",
            "Versions that were to be served and could not be.", ["reason"],
            registry=registry,
        )  # fmt: skip

        self.commit_seconds = Histogram(
            "ribolex_commit_seconds",
            "How long it took until changes of a collection were on disk and found.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.commit_changes = Histogram(
            "ribolex_commit_changes", "Changes of several calls that shared a commit.",
            buckets=_ROWS, registry=registry,
        )  # fmt: skip

        self.cache_lookups = Counter(
            "ribolex_cache_lookups", "Sequences looked for in a cache.",
            ["store", "result"], registry=registry,
        )  # fmt: skip
        self.cache_errors = Counter(
            "ribolex_cache_errors", "Times that a cache was of no use.", ["kind"],
            registry=registry,
        )  # fmt: skip

    def watch(self, readings: Iterable[Reading]) -> None:
        """Has numbers looked up, from now on, whenever the metrics are asked for."""
        self._registry.register(_Readings(tuple(readings)))

    def exposed(self) -> bytes:
        """Returns all of them in Prometheus' text format."""
        return generate_latest(self._registry)


class _Readings(Collector):
    def __init__(self, readings: tuple[Reading, ...]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        for reading in self._readings:
            name = f"ribolex_{reading.name}"
            family = GaugeMetricFamily(name, reading.help, labels=reading.labels)
            found = reading.read()
            if isinstance(found, Mapping):
                for values, number in found.items():
                    family.add_metric(values, number)
            else:
                family.add_metric((), found)
            yield family

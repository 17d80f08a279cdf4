"""What a trainer does and did, as Prometheus reads it.

Knows nothing of what is trained.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    start_http_server,
)

from ribolex.trainer.pipeline import STAGES
from ribolex.trainer.process.reporting import Event

SHARED_STAGES = ("corpus", "validation", "activations")
ALL_STAGES = (*SHARED_STAGES, *STAGES)


class Metrics:
    """Counts events; one a process.

    Attributes:
        registry: What Prometheus is given.
    """

    def __init__(self, names: Sequence[str], workdir: Path) -> None:
        """Makes all of them, at 0.

        Args:
            names: of the dictionaries.
            workdir: whose disk is looked at; there by the time it is asked for.
        """
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        of_stage, of_one = ["stage"], ["dictionary"]

        def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
            full = f"ribolex_trainer_{name}"
            return Gauge(full, text, labels, registry=self.registry)

        def counter(name: str, text: str, labels: Sequence[str]) -> Counter:
            full = f"ribolex_trainer_{name}"
            return Counter(full, text, labels, registry=self.registry)

        self._active = gauge("stage_active", "1 for the stage at work.", of_stage)
        self._done = gauge("stage_done_ratio", "Share of the stage at work.", of_stage)
        self._seconds = counter(
            "stage_seconds", "Time that a stage took, in all.", of_stage
        )
        self._rate = gauge("fit_rows_per_second", "Rows a second of the fit at work.")
        self._fvu = gauge(
            "fit_fvu_ratio", "Variance unexplained in the last batch told.", of_one
        )
        self._dead = gauge(
            "fit_dead_features", "Features that have not fired for long.", of_one
        )
        self._published = counter("published", "Versions published.", of_one)
        self._unchanged = counter("unchanged", "Runs that found all done.", of_one)
        self._gates = counter("gate_failures", "Gates that failed.", of_one)
        self._failures = counter(
            "failures", 'Failures; dictionary "" for a whole run.', of_one
        )
        self._requests = counter("requests", "Requests that were taken up.", of_one)
        self._success = gauge(
            "last_success_timestamp_seconds",
            "When a dictionary was last found or made current, a Unix time.",
            of_one,
        )
        gauge("disk_free_bytes", "Free where the work folder is.").set_function(
            lambda: shutil.disk_usage(workdir).free
        )
        gauge("disk_size_bytes", "Of that disk.").set_function(
            lambda: shutil.disk_usage(workdir).total
        )
        for stage in ALL_STAGES:
            for each in (self._active, self._done, self._seconds):
                each.labels(stage)
        for name in names:
            for each in (
                self._published,
                self._unchanged,
                self._gates,
                self._failures,
                self._requests,
            ):
                each.labels(name)
        self._failures.labels("")

    def take(self, event: Event) -> None:
        """Counts the event."""
        name, stage, fields = event.dictionary, event.stage, event.fields
        counters = {
            "published": self._published,
            "unchanged": self._unchanged,
            "gate_failed": self._gates,
            "failed": self._failures,
            "requested": self._requests,
        }
        if event.kind in counters:
            counters[event.kind].labels(name).inc()
        if event.kind in ("published", "unchanged"):
            self._success.labels(name).set(event.time_s)
        if event.kind == "stage":
            self._active.labels(stage).set(0)
            self._seconds.labels(stage).inc(_number(fields["seconds"]))
            self._rate.set(0)
        if event.kind == "progress":
            self._active.labels(stage).set(1)
            total = max(1.0, _number(fields["total"]))
            self._done.labels(stage).set(_number(fields["done"]) / total)
        if stage == "fit" and "fvu" in fields:
            self._rate.set(_number(fields.get("rows_per_s", 0)))
            self._fvu.labels(name).set(_number(fields["fvu"]))
            self._dead.labels(name).set(_number(fields["dead"]))


class Place(NamedTuple):
    """Where metrics are to be had."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address for Prometheus."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/metrics"


@contextmanager
def serving(metrics: Metrics, host: str, port: int) -> Iterator[Place]:
    """Serves metrics in a thread of their own until the block ends.

    Raises:
        OSError: the port is taken.
    """
    server, thread = start_http_server(port, host, metrics.registry)
    try:
        yield Place(host, server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)

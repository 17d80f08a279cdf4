"""Spans of what a server does, sent to an OpenTelemetry collector.

A call is a span, under the caller's if its metadata name one (W3C trace context). A
request that waits for the model has a span `queue` below it, each batch a span `batch`
with `forward` and `encode` below: below the first call that it serves, linked to all.

Only what is sampled costs anything; without a collector nothing here is made, and
OpenTelemetry need not be installed. No attribute holds a letter of a sequence, nor an
error's words. Knows nothing of how calls are answered or batches computed.
"""

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ribolex.errors import InvalidRequestError
from ribolex.server.engine.observer import TracedBatch

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_FAULTS = {
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
}
"""Codes that OpenTelemetry counts as a server's own faults."""


def open_tracing(endpoint: str | None) -> "Tracing | None":
    """Returns what makes spans and sends them; None if there is no collector.

    Args:
        endpoint: URL of a collector that speaks OTLP over gRPC; None takes what
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT say.

    Raises:
        InvalidRequestError: OpenTelemetry is not installed.
    """
    said = os.environ
    if endpoint is None and not any(said.get(name) for name in _ENDPOINTS):
        return None
    is_off = said.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if is_off or said.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise InvalidRequestError(
            "--otlp-endpoint", "needs OpenTelemetry: pip install 'ribolex[otel]'"
        ) from error
    names = {} if "OTEL_SERVICE_NAME" in said else {"service.name": "ribolex"}
    provider = TracerProvider(resource=Resource.create(names))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return Tracing(provider)


class Tracing:
    """Makes spans. Thread-safe, but for the span of a call."""

    def __init__(self, provider: Any) -> None:
        """Takes the provider over.

        Args:
            provider: of OpenTelemetry's SDK; closed with this.
        """
        from opentelemetry import context, propagate, trace

        self._provider = provider
        self._tracer = provider.get_tracer("ribolex.server")
        self._context = context
        self._propagate = propagate
        self._trace = trace

    def begin(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Any:
        """Returns the span of a call, which is then the current one of its task.

        Args:
            method: without the first slash.
            metadata: of the call.
        """
        carrier = {name: one for name, one in metadata if isinstance(one, str)}
        service, _, name = method.rpartition("/")
        span = self._tracer.start_span(
            method,
            context=self._propagate.extract(carrier),
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": service,
                "rpc.method": name,
            },
        )
        # Never taken back: the context ends with the task, which is the call's own.
        self._context.attach(self._trace.set_span_in_context(span))
        return span

    def end(self, span: Any, code: Any, fields: Mapping[str, str | int]) -> None:
        """Ends the span of a call.

        Args:
            span: from `begin`.
            code: of gRPC.
            fields: of the call, by their names in the log.
        """
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        for name, value in fields.items():
            span.set_attribute(f"ribolex.{name}", value)
        if code.name in _FAULTS:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()

    def here(self) -> Any | None:
        """Returns the current span's identity, if it is sampled."""
        found = self._trace.get_current_span().get_span_context()
        return found if found.is_valid and found.trace_flags.sampled else None

    def tell(self, batch: TracedBatch) -> None:
        """Makes the spans of a batch, and of what waited for it."""
        # Of one clock to the other, near enough for what has just been.
        ahead_ns = time.time_ns() - time.monotonic_ns()

        def span(
            name: str, parent: Any, begun_s: float, end_s: float, **rest: Any
        ) -> Any:
            above = self._trace.NonRecordingSpan(parent)
            made = self._tracer.start_span(
                name,
                context=self._trace.set_span_in_context(above),
                start_time=ahead_ns + round(begun_s * 1e9),
                **rest,
            )
            made.end(ahead_ns + round(end_s * 1e9))
            return made.get_span_context()

        for waiter in batch.begun:
            span("queue", waiter.trace, waiter.arrived_s, batch.begun_s)
        attributes = {
            "ribolex.n_windows": batch.n_windows,
            "ribolex.n_tokens": batch.n_tokens,
            "ribolex.prepare_s": batch.prepare_s,
        }
        served = {trace.span_id: trace for trace in batch.traces}.values()
        links = [self._trace.Link(trace) for trace in served]
        parent = span(
            "batch", batch.traces[0], batch.begun_s, batch.end_s,
            links=links, attributes=attributes,
        )  # fmt: skip
        for stage in batch.stages:
            span(stage.name, parent, stage.begun_s, stage.end_s)

    def close(self) -> None:
        """Sends what is left. Blocks."""
        self._provider.shutdown()

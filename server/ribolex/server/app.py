"""The server as a whole: built, started, drained, taken down.

Knows how the parts fit together; nothing of what any of them does.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ribolex.server.auth import Auth
from ribolex.server.calls import CallInterceptor
from ribolex.server.engine.front import Engine
from ribolex.server.follow import follow
from ribolex.server.http import make_app, serving_http
from ribolex.server.limits import CallLimits
from ribolex.server.loading import load_backend
from ribolex.server.metrics import Metrics, Reading
from ribolex.server.services.collection import CollectionService
from ribolex.server.services.dictionary import DictionaryService
from ribolex.server.services.encoder import EncoderService
from ribolex.server.services.gate import Backend, Gate
from ribolex.server.settings import ServerSettings, is_loopback, is_socket
from ribolex.server.tls import Tls
from ribolex.server.tracing import Tracing, open_tracing
from ribolex.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    dictionary_pb2,
    dictionary_pb2_grpc,
    encoder_pb2,
    encoder_pb2_grpc,
)

_LOG = logging.getLogger(__name__)

SERVICES = (
    encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"].full_name,
    collection_pb2.DESCRIPTOR.services_by_name["CollectionService"].full_name,
    dictionary_pb2.DESCRIPTOR.services_by_name["DictionaryService"].full_name,
)
"""Full names of our services, each with a health of its own."""


async def serve(
    settings: ServerSettings,
    stop: asyncio.Event,
    on_ready: Callable[[str], None],
) -> None:
    """Serves until `stop` is set, then drains and returns.

    The port is open from the start, and answers UNAVAILABLE while all is loaded.

    Args:
        settings: what to serve, and where.
        stop: set from outside to end it.
        on_ready: called with "host:port" once every call is answered.

    Raises:
        RibolexError: model, dictionary or data folder cannot be used.
        OSError: the address cannot be bound.
    """
    gate, metrics = Gate(), Metrics()
    auth, tls = Auth(settings.tokens), _tls(settings)
    tracing = open_tracing(settings.otlp_endpoint)
    if settings.tokens is None and not is_loopback(settings.host):
        _LOG.warning("no --tokens: whoever reaches this server may do everything")
    front = await _Front.open(settings, gate, auth, tls, metrics, tracing)
    backend: Backend | None = None
    watch: asyncio.Task[None] | None = None
    try:
        metrics.watch([Reading("ready", "1 if calls are answered.", gate.is_open)])
        backend = await load_backend(settings, metrics, tracing)
        if not stop.is_set():
            gate.open(backend)
            backend.swaps.start()
            await front.tell_health(health_pb2.HealthCheckResponse.SERVING)
            watch = asyncio.create_task(_watch(backend.engine, front))
            if settings.address_file is not None:
                await asyncio.to_thread(_write, settings.address_file, front.address)
            _LOG.info("ready, address %s", front.address)
            on_ready(front.address)
        await stop.wait()
        _LOG.info("draining, at most %.0f s", settings.drain_s)
    finally:
        gate.draining.set()
        if watch is not None:
            watch.cancel()
        await front.close(settings.drain_s)
        if backend is not None:
            await backend.swaps.close()
            await backend.reindexer.close()
            await backend.engine.close()
            await backend.cache.close()
            await backend.collections.close()
        if tracing is not None:
            await asyncio.to_thread(tracing.close)
    _LOG.info("stopped")


async def _watch(engine: Engine, front: "_Front") -> None:
    """Says that we do not serve once the engine has died."""
    await engine.died.wait()
    _LOG.critical("the engine has died: not serving until the process is restarted")
    await front.tell_health(health_pb2.HealthCheckResponse.NOT_SERVING)


@dataclass(frozen=True, slots=True)
class _Front:
    """The listening gRPC server with its health, and what goes on beside it."""

    server: grpc.aio.Server
    health: health.aio.HealthServicer
    address: str
    beside: AsyncExitStack

    @classmethod
    async def open(
        cls,
        settings: ServerSettings,
        gate: Gate,
        auth: Auth,
        tls: Tls | None,
        metrics: Metrics,
        tracing: Tracing | None,
    ) -> "_Front":
        """Listens; every service is there, and none of them healthy yet."""
        limits = CallLimits(
            max_calls=settings.max_client_calls,
            max_nucleotides=settings.max_request_nucleotides,
        )
        server = grpc.aio.server(
            interceptors=(CallInterceptor(auth, limits, metrics, tracing),),
            options=_options(settings),
        )
        encoder_pb2_grpc.add_EncoderServiceServicer_to_server(
            EncoderService(gate), server
        )
        collection_pb2_grpc.add_CollectionServiceServicer_to_server(
            CollectionService(gate), server
        )
        dictionary_pb2_grpc.add_DictionaryServiceServicer_to_server(
            DictionaryService(gate), server
        )
        healths = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(healths, server)
        standard = (health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,)
        names = (*SERVICES, *standard, reflection.SERVICE_NAME)
        if settings.reflection:
            reflection.enable_server_reflection(names, server)
        address = _bind(server, settings, tls)
        async with AsyncExitStack() as beside:
            await beside.enter_async_context(_following(auth, tls, metrics))
            if settings.http_port is not None:
                app = make_app(metrics, gate.why_closed, gate.notes)
                where = settings.http_host, settings.http_port
                http = await beside.enter_async_context(serving_http(app, *where, tls))
                _LOG.info("metrics and probes at %s", http)
            front = cls(server, healths, address, beside.pop_all())
        await front.tell_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await server.start()
        return front

    async def tell_health(
        self, status: health_pb2.HealthCheckResponse.ServingStatus
    ) -> None:
        """Tells whether we serve: for the whole and for each service."""
        for name in ("", *SERVICES):
            await self.health.set(name, status)

    async def close(self, drain_s: float) -> None:
        """Says that we are leaving, takes no more calls, lets the others finish."""
        await self.health.enter_graceful_shutdown()
        await self.server.stop(drain_s)
        await self.beside.aclose()


def _options(settings: ServerSettings) -> tuple[tuple[str, int], ...]:
    limit = settings.max_message_mib << 20
    return (
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", limit),
        # Two servers on one port would share its calls between them.
        ("grpc.so_reuseport", 0),
        # Above our own limit, which says what is wrong; this one makes calls wait.
        ("grpc.max_concurrent_streams", 2 * settings.max_client_calls),
        ("grpc.max_connection_age_ms", settings.max_connection_age_s * 1000),
        # Finds callers that are gone without a word; lets them ask the same of us.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    )


def _bind(server: grpc.aio.Server, settings: ServerSettings, tls: Tls | None) -> str:
    """Takes the port or the socket; returns "host:port" or "unix:PATH"."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    wanted = f"{host}:{settings.port}"
    if is_socket(settings.host):
        wanted = settings.host
    try:
        if tls is None:
            port = server.add_insecure_port(wanted)
        else:
            port = server.add_secure_port(wanted, tls.credentials())
    except RuntimeError as error:
        raise OSError(f"cannot listen on {wanted}") from error
    return wanted if is_socket(settings.host) else f"{host}:{port}"


def _tls(settings: ServerSettings) -> Tls | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)


@asynccontextmanager
async def _following(
    auth: Auth, tls: Tls | None, metrics: Metrics
) -> AsyncIterator[None]:
    """Has changed tokens and certificates taken up while the block runs."""
    fail = metrics.reload_failures.inc
    tasks = []
    if auth.path is not None:
        tasks.append(asyncio.create_task(follow([auth.path], auth.reload, fail)))
    if tls is not None:
        tasks.append(asyncio.create_task(follow(tls.paths, tls.reload, fail)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _write(path: Path, text: str) -> None:
    """Writes a small file so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(f"{text}\n")
    temporary.replace(path)

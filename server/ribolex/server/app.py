"""The server as a whole: built, started, drained, taken down.

Knows how the parts fit together; nothing of what any of them does.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import torch
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ribolex.dictionary import Dictionary
from ribolex.lm import load_lm, sensible_threads
from ribolex.registry import open_registry, parse_ref
from ribolex.server.dictionaries import Dictionaries, choose_default
from ribolex.server.engine.front import Engine
from ribolex.server.engine.queue import Limits
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.store import CollectionStore
from ribolex.server.services.collection import CollectionService
from ribolex.server.services.dictionary import DictionaryService
from ribolex.server.services.encoder import EncoderService
from ribolex.server.services.gate import Backend, Gate
from ribolex.server.services.room import Room
from ribolex.server.settings import ServerSettings
from ribolex.server.status import StatusInterceptor
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
    gate = Gate()
    front = await _Front.open(settings, gate)
    backend: Backend | None = None
    watch: asyncio.Task[None] | None = None
    try:
        backend = await _load(settings)
        if not stop.is_set():
            gate.open(backend)
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
            await backend.engine.close()
            await backend.collections.close()
    _LOG.info("stopped")


async def _watch(engine: Engine, front: "_Front") -> None:
    """Says that we do not serve once the engine has died."""
    await engine.died.wait()
    _LOG.critical("the engine has died: not serving until the process is restarted")
    await front.tell_health(health_pb2.HealthCheckResponse.NOT_SERVING)


@dataclass(frozen=True, slots=True)
class _Front:
    """The listening gRPC server with its health."""

    server: grpc.aio.Server
    health: health.aio.HealthServicer
    address: str

    @classmethod
    async def open(cls, settings: ServerSettings, gate: Gate) -> "_Front":
        """Listens; every service is there, and none of them healthy yet."""
        limit = settings.max_message_mib << 20
        server = grpc.aio.server(
            interceptors=(StatusInterceptor(),),
            options=(
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                # Two servers on one port would share its calls between them.
                ("grpc.so_reuseport", 0),
            ),
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
        reflection.enable_server_reflection(names, server)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        try:
            port = server.add_insecure_port(f"{host}:{settings.port}")
        except RuntimeError as error:
            raise OSError(f"cannot listen on {host}:{settings.port}") from error
        front = cls(server, healths, f"{host}:{port}")
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


async def _load(settings: ServerSettings) -> Backend:
    """Returns everything under the services, loaded and running."""
    torch.set_num_threads(settings.threads or sensible_threads())
    lm = await asyncio.to_thread(
        load_lm,
        settings.model,
        device=settings.device,
        precision=settings.precision,
    )
    _LOG.info("model %s loaded, digest %s", lm.name, lm.digest[:12])
    registry = open_registry(settings.registry)
    default = settings.dictionary
    if not default:
        default = await asyncio.to_thread(choose_default, registry, lm)
    parse_ref(default)
    dictionaries = Dictionaries(registry, lm, default, settings.device)

    async def find(name: str, version: int) -> Dictionary:
        return (await dictionaries.get(name, version)).dictionary

    found = await dictionaries.fitting()
    _LOG.info("dictionary %s loaded, the default", found.dictionary.ref)
    collections = CollectionStore(settings.data.expanduser(), SearchMeasure(), find)
    await collections.open()
    limits = Limits(
        max_tokens=settings.max_queue_tokens,
        max_requests=settings.max_queue_requests,
        batch_tokens=settings.batch_tokens,
    )
    return Backend(
        lm,
        Engine(lm, limits, max_nucleotides=settings.max_nucleotides),
        dictionaries,
        collections,
        settings.max_sequences,
        settings.max_message_mib << 20,
        Room(settings.max_embedding_mib << 20),
    )


def _write(path: Path, text: str) -> None:
    """Writes a small file so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(f"{text}\n")
    temporary.replace(path)

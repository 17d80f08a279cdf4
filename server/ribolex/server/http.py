"""The HTTP port: metrics, and probes for whoever runs the server.

Knows how HTTP is served; nothing of what is measured or of when a server is ready.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ribolex.server.metrics import CONTENT_TYPE, Metrics
from ribolex.server.tls import Tls

_CLOSE_S = 2


def make_app(
    metrics: Metrics, not_ready: Callable[[], str], notes: Callable[[], Iterable[str]]
) -> Starlette:
    """Returns what answers over HTTP.

    Args:
        metrics: given away under /metrics.
        not_ready: why the server takes no calls; "" if it does.
        notes: what is not as it should be, though it takes calls.
    """

    async def expose(request: Request) -> Response:
        return Response(
            await asyncio.to_thread(metrics.exposed), media_type=CONTENT_TYPE
        )

    async def tell_alive(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def tell_ready(request: Request) -> Response:
        reason = not_ready()
        lines = [reason or "ready", *notes()]
        text = "".join(f"{line}\n" for line in lines)
        return PlainTextResponse(text, 503 if reason else 200)

    return Starlette(
        routes=[
            Route("/metrics", expose),
            Route("/healthz", tell_alive),
            Route("/readyz", tell_ready),
        ]
    )


@asynccontextmanager
async def serving_http(
    app: Starlette, host: str, port: int, tls: Tls | None
) -> AsyncIterator[str]:
    """Serves an app while the block runs; gives its "host:port".

    Raises:
        OSError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_CLOSE_S,
        limit_concurrency=256,
    )
    config.load()
    config.ssl = tls.context if tls is not None else None
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"{shown}:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """Leaves signals to the process that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

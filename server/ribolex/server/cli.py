"""The command `ribolex serve`.

Light: what serves is imported once it is called. Knows the terminal, signals and
logging; nothing of serving.
"""

import asyncio
import json
import logging
import signal
import sys
import time
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ribolex.server.settings import ServerSettings


_LOG = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Adds `serve` to the `ribolex` command."""
    # Options are read by the settings themselves: each is told once, there.
    app.command(
        name="serve",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        help="Start a server: encode RNAs, keep collections, search them.",
    )(serve)


def serve(context: typer.Context) -> None:
    """Starts a server with the options in `context` and returns when it has ended."""
    from ribolex.errors import RibolexError

    settings = _read_settings(context.args)
    _configure_logging(settings)
    try:
        asyncio.run(_run(settings))
    except (RibolexError, OSError) as error:
        _LOG.debug("cannot serve", exc_info=True)
        print(f"ribolex serve: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


def _read_settings(arguments: list[str]) -> "ServerSettings":
    """Returns the settings; ends the program if they cannot be read."""
    from pydantic import ValidationError
    from pydantic_settings import CliApp

    from ribolex.server.settings import ServerSettings

    try:
        return CliApp.run(ServerSettings, cli_args=arguments)
    except ValidationError as error:
        for fault in error.errors():
            name = str(fault["loc"][0]).replace("_", "-")
            print(
                f"ribolex serve: --{name}: {fault['msg']}, got {fault['input']!r}",
                file=sys.stderr,
            )
        raise typer.Exit(2) from error


async def _run(settings: "ServerSettings") -> None:
    from ribolex.server.app import serve as run

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(settings, stop, _tell_address)


def _tell_address(address: str) -> None:
    print(f"Ribolex is ready at {address}", flush=True)


def _configure_logging(settings: "ServerSettings") -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if settings.log_format == "json" else _TEXT)
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper())
    # Tells at INFO which of its builds it tried.
    logging.getLogger("faiss").setLevel(logging.WARNING)


_TEXT = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")


class _JsonFormatter(logging.Formatter):
    """One JSON object a line; the time is UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line of one event."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        event = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event)

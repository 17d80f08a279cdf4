"""The commands `ribolex serve` and `ribolex tokens`.

Light: what serves is imported once it is called. Knows the terminal, signals and
logging; nothing of serving.
"""

import asyncio
import logging
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ribolex.server.settings import ServerSettings

_LOG = logging.getLogger(__name__)


tokens = typer.Typer(
    name="tokens",
    no_args_is_help=True,
    help="Make and revoke tokens for `ribolex serve --tokens`.",
)


class _Scope(StrEnum):
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


_File = Annotated[
    Path,
    typer.Option(
        "--file", envvar="RIBOLEX_TOKENS", help="The file of tokens, holding hashes."
    ),
]


@tokens.command()
def add(
    name: Annotated[str, typer.Argument(help="Of its holder; appears in the log.")],
    file: _File,
    scope: Annotated[
        _Scope,
        typer.Option(
            help="read: encode and search; write: collections, too; admin: all."
        ),
    ] = _Scope.READ,
) -> None:
    """Make a token and print it, this once."""
    from ribolex.server.tokens import add_token

    typer.echo(add_token(file, name, scope.value).secret)


@tokens.command("list")
def list_tokens(file: _File) -> None:
    """List the tokens: name, scope, when they were made."""
    from ribolex.server.tokens import read_tokens

    for token in read_tokens(file):
        typer.echo(f"{token.name}\t{token.scope}\t{token.created}")


@tokens.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Of its holder.")], file: _File
) -> None:
    """Take a token out: calls with it fail within a second or two."""
    from ribolex.server.tokens import revoke_token

    revoke_token(file, name)


def register(app: typer.Typer) -> None:
    """Adds `serve` and `tokens` to the `ribolex` command."""
    # Options are read by the settings themselves: each is told once, there.
    app.command(
        name="serve",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        help="Start a server: encode RNAs, keep collections, search them.",
    )(serve)
    app.add_typer(tokens)


def serve(context: typer.Context) -> None:
    """Starts a server with the options in `context` and returns when it has ended."""
    from ribolex.errors import RibolexError
    from ribolex.server.logs import configure_logging

    settings = _read_settings(context.args)
    configure_logging(settings.log_level, settings.log_format)
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
            text = fault["msg"].removeprefix("Value error, ")
            if fault["loc"]:
                name = str(fault["loc"][0]).replace("_", "-")
                text = f"--{name}: {text}, got {fault['input']!r}"
            print(f"ribolex serve: {text}", file=sys.stderr)
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

"""The options by which a command finds its server, told once for all commands."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_type_hints

import typer

from ribolex.client.client import DEFAULT_ADDRESS, Client
from ribolex.client.credentials import Credentials


@dataclass(frozen=True, slots=True)
class Server:
    """A server, and how to connect to it."""

    address: str
    credentials: Credentials

    def connect(self, timeout_s: float = 60.0) -> Client:
        """Returns a client of it, to be closed.

        Raises:
            InvalidRequestError: the options contradict each other.
            OSError: a file named by one cannot be read.
        """
        return Client(self.address, timeout_s=timeout_s, credentials=self.credentials)


def with_server(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command, in place of its parameter `server`, the options for one."""
    options = inspect.signature(_server).parameters
    own = inspect.signature(command).parameters

    @functools.wraps(command)
    def run(**given: object) -> None:
        told = {name: given.pop(name) for name in options}
        command(server=_server(**told), **given)  # type: ignore[arg-type]

    kept = [each for name, each in own.items() if name != "server"]
    shown = [
        each.replace(kind=each.KEYWORD_ONLY) for each in (*kept, *options.values())
    ]
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {
        **get_type_hints(command, include_extras=True),
        **get_type_hints(_server, include_extras=True),
        "return": None,
    }
    return run


def _server(
    server: Annotated[
        str, typer.Option(help="Host and port of the server.", envvar="RIBOLEX_SERVER")
    ] = DEFAULT_ADDRESS,
    tls: Annotated[
        bool,
        typer.Option("--tls", help="Connect encrypted; a known authority vouches."),
    ] = False,
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            help="Connect encrypted; an authority in this file vouches (PEM).",
            envvar="RIBOLEX_CA",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            help="One's own certificate, where a server wants one (PEM).",
            envvar="RIBOLEX_CLIENT_CERT",
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(help="Its key (PEM).", envvar="RIBOLEX_CLIENT_KEY"),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="As ribolex tokens add printed it; others on this machine see it in "
            "the list of processes, which the variable and --token-file avoid.",
            envvar="RIBOLEX_TOKEN",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File that holds the token.", envvar="RIBOLEX_TOKEN_FILE"),
    ] = None,
    token_in_clear: Annotated[
        bool,
        typer.Option(
            "--token-in-clear",
            help="Send the token unencrypted even to another machine: all on the way "
            "can read and use it.",
        ),
    ] = False,
) -> Server:
    credentials = Credentials(
        token, token_file, tls, tls_ca, tls_cert, tls_key, token_in_clear
    )
    return Server(server, credentials)

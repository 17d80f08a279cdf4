"""The command `ribolex health`, for probes that can run a program."""

from typing import Annotated

import typer

from ribolex.client.commands.server import Server, with_server
from ribolex.client.errors import NotReadyError


@with_server
def health(
    server: Server,
    service: Annotated[
        str,
        typer.Option(help="Of this service, by its full name; else of the whole."),
    ] = "",
    timeout: Annotated[
        float, typer.Option(help="Longest wait for the answer, in seconds.", min=0.1)
    ] = 5.0,
) -> None:
    """Ask a server whether it takes calls; exit code 1 if not.

    By gRPC's standard health service, which needs no token.
    """
    with server.connect(timeout) as client:
        if not client.is_serving(service):
            raise NotReadyError(f"{server.address} is there and takes no calls yet")
    typer.echo(f"{server.address} takes calls")

"""The commands `ribolex dictionaries activate | rollback | retire | watch`.

They ask a server, which follows its registry.
"""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from ribolex.client.commands import options
from ribolex.client.commands.server import Server, with_server
from ribolex.client.errors import CancelledError

RefArgument = Annotated[str, typer.Argument(metavar="NAME@VERSION")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, an object a line.")]


def register(group: typer.Typer) -> None:
    """Adds the commands to `ribolex dictionaries`."""
    group.command(name="activate")(activate)
    group.command(name="rollback")(rollback)
    group.command(name="retire")(retire)
    group.command(name="watch")(watch)


@with_server
def activate(
    server: Server,
    ref: RefArgument,
    expected: Annotated[
        int | None,
        typer.Option(min=0, help="Only if this version is current now; 0 for none."),
    ] = None,
    timeout: options.Timeout = 300.0,
) -> None:
    """Make a version current, be it a newer or an older one.

    The server loads and checks it first, and refuses one that does not fit; when this
    returns the server uses it, and other servers of the registry follow.
    """
    with server.connect(timeout) as client:
        moved = client.activate(ref, expected=expected)
    typer.echo(f"{moved.dictionary} is current, before it: {moved.before or '-'}")


@with_server
def rollback(
    server: Server,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Else the server's default.")
    ] = None,
    timeout: options.Timeout = 300.0,
) -> None:
    """Go back to the version before; twice leads back."""
    with server.connect(timeout) as client:
        moved = client.roll_back(name)
    typer.echo(f"{moved.dictionary} is current, before it: {moved.before or '-'}")


@with_server
def retire(server: Server, ref: RefArgument) -> None:
    """Withdraw a version for good, unless it is in use."""
    with server.connect() as client:
        client.retire(ref)
    typer.echo(f"{ref} is retired")


@with_server
def watch(
    server: Server,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only this dictionary.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what the server uses, and every change of it."""
    with server.connect() as client:
        try:
            for change in client.watch(name):
                if as_json:
                    told = asdict(change) | {"dictionary": str(change.dictionary)}
                    typer.echo(json.dumps(told))
                    continue
                time = datetime.fromtimestamp(change.time_s, UTC)
                line = f"{time:%Y-%m-%d %H:%M:%S} {change.kind} {change.dictionary}"
                typer.echo(f"{line}: {change.reason}" if change.reason else line)
        except (KeyboardInterrupt, CancelledError):
            return

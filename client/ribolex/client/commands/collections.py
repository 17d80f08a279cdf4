"""The command `collections` and those below it: sets of RNAs as a whole."""

from typing import Annotated

import typer
from rich.console import Console

from ribolex.client import output
from ribolex.client.commands import options
from ribolex.client.commands.local import Place, with_place

Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.callback(invoke_without_command=True)(list_collections)
    app.command("show")(show)
    app.command("delete")(delete)


@with_place
def list_collections(context: typer.Context, place: Place) -> None:
    """List collections, show or delete one.

    Without a command: those that there are.
    """
    if context.invoked_subcommand:
        return
    with place.connect(60.0) as client:
        output.print_collections(Console(), client.list_collections())


@with_place
def show(
    place: Place,
    name: Name,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one: dictionary, pooling, RNAs, sizes, and what metadata there is."""
    with place.connect(60.0, name) as client:
        found = client.get_collection(name)
    if as_json:
        typer.echo(output.to_json(found))
    else:
        output.print_collection(Console(), found)


@with_place
def delete(
    place: Place,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    timeout: options.Timeout = 300.0,
) -> None:
    """Delete a collection with all its RNAs, for good."""
    with place.connect(timeout, name) as client:
        n_rnas = client.get_collection(name).n_rnas
        if not yes:
            question = f"Delete {name} with its {n_rnas:,} RNAs for good?"
            typer.confirm(question, abort=True, err=True)
        n_rnas = client.delete_collection(name)
    typer.echo(f"{name}: deleted with {n_rnas} RNAs")

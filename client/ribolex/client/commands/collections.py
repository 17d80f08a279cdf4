"""The command `collections` and those below it: sets of RNAs as a whole."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ribolex.client import output
from ribolex.client.commands import options
from ribolex.client.commands.local import Place, with_place
from ribolex.client.progress import progress
from ribolex.client.snapshots import describe_snapshot

Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.callback(invoke_without_command=True)(list_collections)
    app.command("show")(show)
    app.command("delete")(delete)
    app.command("snapshot")(snapshot)
    app.command("restore")(restore)
    app.command("reindex")(reindex)
    app.command("end-reindex")(end_reindex)


@with_place
def list_collections(context: typer.Context, place: Place) -> None:
    """List collections; show, delete, save, restore, re-index one.

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
    """Show one: dictionary, RNAs, sizes, metadata."""
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
    typer.echo(f"{name}: deleted with {n_rnas:,} RNAs")


@with_place
def snapshot(
    place: Place,
    name: Name,
    output_file: Annotated[
        Path, typer.Option("--output", "-o", help="File to write.", metavar="FILE")
    ],
    timeout: options.Timeout = 3600.0,
) -> None:
    """Save a collection to one file as it is now."""
    with (
        place.connect(timeout, name) as client,
        progress(f"saving {name}", None, "bytes") as advance,
    ):
        found = client.snapshot(name, output_file, on_progress=advance)
    typer.echo(
        f"{name}: {found.n_rnas:,} RNAs under {found.dictionary}, "
        f"{found.size_bytes:,} bytes in {output_file}, digest checked"
    )


@with_place
def restore(
    place: Place,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As snapshot made it.")],
    name: Annotated[
        str, typer.Option(help="What to call it; without it as it was called.")
    ] = "",
    timeout: options.Timeout = 3600.0,
) -> None:
    """Make a collection of a saved file: all of it, or nothing."""
    describe_snapshot(file)
    with place.connect(timeout) as client:
        found = client.restore(file, name=name)
    typer.echo(f"{found.name}: {found.n_rnas:,} RNAs under {found.dictionary}")


@with_place
def reindex(
    place: Place,
    name: Name,
    dictionary: Annotated[
        str | None,
        typer.Option(help='"name" or "name@version"; else the server\'s default.'),
    ] = None,
    max_share: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Of the time, for this work.")
    ] = 0.5,
    min_overlap: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Stay if fewer of the ten nearest are the same before and after.",
        ),
    ] = 0.0,
) -> None:
    """Index a collection anew under another dictionary.

    Ctrl-C leaves the server at it (with --local it goes on when asked again). The index
    before is kept: its dictionary leads back, until `end-reindex`.
    """
    with place.connect(60.0, name) as client:
        n_rnas = client.get_collection(name).n_rnas
        with progress(f"indexing {name}", n_rnas) as advance:
            done, states = (
                0,
                client.reindex(
                    name, dictionary, max_share=max_share, min_overlap=min_overlap
                ),
            )
            for found in states:
                advance(found.n_done - done)
                done = found.n_done
        moved = client.get_collection(name)
    overlap = "" if found.overlap is None else f"overlap@10 {found.overlap:.2f}"
    if found.state == "held":
        typer.echo(
            f"{name}: held under {moved.dictionary}, {overlap}, expected {min_overlap}",
            err=True,
        )
        raise typer.Exit(1)
    typer.echo(f"{name}: {moved.n_rnas:,} RNAs under {moved.dictionary}, {overlap}")


@with_place
def end_reindex(place: Place, name: Name, timeout: options.Timeout = 300.0) -> None:
    """Delete what is not searched of a collection: begun, or kept."""
    with place.connect(timeout, name) as client:
        found = client.end_reindex(name)
    typer.echo(f"{name}: {found.n_rnas:,} RNAs under {found.dictionary}, nothing else")

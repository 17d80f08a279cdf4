"""The commands `rnas list` and `rnas delete`: what is stored in a collection."""

import itertools
import sys
from typing import Annotated

import typer

from ribolex.client import output
from ribolex.client.commands import options
from ribolex.client.commands.local import Place, with_place
from ribolex.client.where import parse_condition

_MAX_NAMES = 10_000
_COLUMNS = ("name", "sequence", "structure")

Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CONDITION",
        help="RNAs with such metadata: type=tRNA, type=tRNA|rRNA, organism!=..., "
        "length>=50; may be given several times, then all must hold.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("list")(list_rnas)
    app.command("delete")(delete_rnas)


@with_place
def list_rnas(
    place: Place,
    collection: options.Collection,
    where: Where = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column", metavar="KEY", help="Metadata to give a column; again for more."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON each, all metadata.")
    ] = False,
    timeout: options.Timeout = 60.0,
) -> None:
    """List the RNAs of a collection by name: a table that `add` reads.

    Tab-separated: name, sequence, structure, then the columns asked for.
    """
    conditions = [parse_condition(one) for one in where or ()]
    keys = columns or []
    with place.connect(timeout, collection) as client:
        rnas = client.list_rnas(collection, where=conditions)
        first = list(itertools.islice(rnas, 1))  # or what is wrong with the question
        if not as_json:
            typer.echo("\t".join((*_COLUMNS, *keys)))
        for rna in itertools.chain(first, rnas):
            if as_json:
                typer.echo(output.to_json(rna))
                continue
            known = (rna.metadata.get(key, "") for key in keys)
            cells = (rna.name, rna.sequence, rna.structure or "", *known)
            typer.echo("\t".join(" ".join(cell.split("\t")) for cell in cells))


@with_place
def delete_rnas(
    place: Place,
    collection: options.Collection,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help='Names; "-": one a line of stdin.'),
    ] = None,
    where: Where = None,
    timeout: options.Timeout = 300.0,
) -> None:
    """Delete RNAs for good, by name or by metadata."""
    if bool(names) == bool(where):
        raise typer.BadParameter("give either names or --where")
    conditions = [parse_condition(one) for one in where or ()]
    told = sys.stdin.read().splitlines() if names == ["-"] else list(names or ())
    chosen = list(dict.fromkeys(told))
    with place.connect(timeout, collection) as client:
        if conditions:
            n_deleted = client.delete_rnas(collection, where=conditions)
        else:
            n_deleted = sum(
                client.delete_rnas(collection, chosen[start : start + _MAX_NAMES])
                for start in range(0, len(chosen), _MAX_NAMES)
            )
        n_rnas = client.get_collection(collection).n_rnas
    missing = "" if conditions else f", {len(chosen) - n_deleted:,} not there"
    typer.echo(f"{collection}: {n_deleted:,} deleted{missing}; {n_rnas:,} RNAs left")

"""The command `ribolex feature map`: features in another version."""

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ribolex.client import output
from ribolex.client.commands import options
from ribolex.client.commands.local import Place, with_model
from ribolex.client.commands.searching import console
from ribolex.client.mapping import MappedFeatures


@with_model
def map_(
    place: Place,
    ids: Annotated[
        list[int] | None,
        typer.Argument(metavar="ID", min=0, help="Features; none: all."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="NAME@VERSION", help="That the ids are of.",
            show_default="the server's default",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="NAME@VERSION", help="To find them in.",
            show_default="its current version",
        ),
    ] = None,
    as_json: options.AsJson = False,
    timeout: options.Timeout = 300.0,
) -> None:  # fmt: skip
    """Tell what features are called in another version.

    A version stores which feature of the one before each of its own goes on, and how
    sure that is. Over several versions, older or newer, the shares are multiplied.
    """
    with place.connect(timeout) as client:
        found = client.map_features(ids or (), source=source, target=target)
    if as_json:
        typer.echo(output.to_json(found))
    else:
        _print(console(), found)


def _print(console: Console, found: MappedFeatures) -> None:
    table = output.columns(str(found.source), str(found.target), ">sure", "label")
    for one in found:
        if one.counterpart is None:
            table.add_row(Text(f"f{one.feature}", "cyan"), "none", "-")
        else:
            now = Text(f"f{one.counterpart}", "cyan")
            sure = f"{one.confidence:.0%}"
            table.add_row(f"f{one.feature}", now, sure, Text(one.label))
    console.print(table)
    n_found = sum(one.counterpart is not None for one in found)
    way = " - ".join(map(str, found.path))
    told = f"{n_found:,} of {len(found):,} have a counterpart; by way of {way}"
    console.print(Text(told, "dim"))

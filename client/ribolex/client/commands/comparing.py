"""The command `compare`: in which features two groups of RNAs differ."""

from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ribolex.client import output
from ribolex.client.commands import options
from ribolex.client.commands.local import Place, with_place
from ribolex.client.commands.searching import console, open_output
from ribolex.client.errors import InvalidRequestError
from ribolex.client.groups import Group, Unit
from ribolex.client.groups_view import Names, print_comparison, write_comparison
from ribolex.client.lines import read_lines
from ribolex.client.pictures import check_suffix
from ribolex.client.tables import read_rnas
from ribolex.client.volcano import write_volcano
from ribolex.client.where import parse_condition

_ALL = 100_000
_AND = " and "


class UnitName(StrEnum):
    """What is taken for one observation."""

    RNA = "rna"
    FAMILY = "family"
    CLAN = "clan"


_GROUP = (
    "A FASTA file or table of RNAs; with --collection also conditions (type=tRNA, "
    "'type=tRNA and length>=70'), or @FILE with names of stored RNAs, one a line."
)


@with_place
def compare(
    place: Place,
    first: Annotated[str, typer.Argument(metavar="A", help=_GROUP)],
    second: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    collection: Annotated[
        str,
        typer.Option(
            "--collection", "-c", metavar="NAME", help="Collection of stored RNAs."
        ),
    ] = "",
    dictionary: options.DictionaryName = None,
    unit: Annotated[
        UnitName | None,
        typer.Option(
            help="One observation. Without it: clan, if the RNAs tell it and each "
            "group has ten, else rna."
        ),
    ] = None,
    max_rnas: Annotated[
        int,
        typer.Option(min=2, max=10_000, help="Of larger groups so many are drawn."),
    ] = 1000,
    no_shuffled: Annotated[
        bool,
        typer.Option(
            "--no-shuffled", help="Do not ask what composition explains; half the time."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of all draws.")] = 0,
    top: Annotated[int, typer.Option(min=1, help="Most features to print.")] = 20,
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", help='Write all as a table; "-": to stdout.'),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw them: .svg, .png or .pdf; ribolex[plot]."),
    ] = None,
    as_json: options.AsJson = False,
    timeout: options.Timeout = 3600.0,
) -> None:
    """Say in which features two groups of RNAs differ.

    Effects with 95 % intervals, a false-discovery rate over all features tested, and
    the same for the RNAs shuffled, which keep composition and neighbours.
    """
    if out is not None and as_json:
        raise typer.BadParameter("give one of --output and --json")
    if plot is not None:
        check_suffix(plot)
    groups = [_group(text, collection) for text in (first, second)]
    unit_name: Unit | None = unit.value if unit else None
    is_whole = out is not None or plot is not None
    with place.connect(timeout, collection) as client:
        found = client.compare(
            *groups,
            collection=collection,
            dictionary=dictionary,
            unit=unit_name,
            max_rnas=max_rnas,
            max_features=_ALL if is_whole else top,
            with_shuffled=not no_shuffled,
            seed=seed,
        )
    names = Names(_name(first), _name(second))
    if plot is not None:
        write_volcano(plot, names, found)
    shown = replace(found, features=found.features[:top])
    with ExitStack() as stack:
        file = open_output(stack, out)
        if file is not None:
            write_comparison(file, found)
        elif as_json:
            typer.echo(output.to_json(shown))
        else:
            print_comparison(console(), names, shown)


def _group(text: str, collection: str) -> Group:
    """Returns the group that an argument stands for.

    Raises:
        CorruptInputError: the file cannot be read.
        InvalidRequestError: it is neither a file nor a condition.
    """
    if text.startswith("@"):
        lines = [line.text.strip() for line in read_lines(Path(text[1:]))]
        return Group(names=[line for line in lines if line])
    path = Path(text)
    if path.is_file():
        return Group(rnas=list(read_rnas(path)))
    if not collection:
        raise InvalidRequestError(
            f"{text!r} is no file; conditions and names need --collection"
        )
    return Group(where=[parse_condition(part) for part in text.split(_AND)])


def _name(text: str) -> str:
    path = Path(text.removeprefix("@"))
    return path.name if path.is_file() else text

"""The command `ribolex feature find`: RNAs, and places, in which features fire."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ribolex.client import output
from ribolex.client.client import Client
from ribolex.client.commands import options
from ribolex.client.commands.local import Place, with_place
from ribolex.client.commands.searching import console, open_output
from ribolex.client.errors import InvalidRequestError
from ribolex.client.feature_files import write_matches
from ribolex.client.lines import STDIN
from ribolex.client.matches import FeatureMatches
from ribolex.client.matches_view import pointed, print_matches
from ribolex.client.progress import progress
from ribolex.client.where import parse_condition

_CHARACTER = re.compile(r"query\[(\d+)\]")
_PAGE_SIZE = 1000


class Format(StrEnum):
    """Of a file of places."""

    TSV = "tsv"
    BED = "bed"
    GFF3 = "gff3"


_ENDINGS = {".bed": Format.BED, ".gff3": Format.GFF3, ".gff": Format.GFF3}


@with_place
def find(
    place: Place,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="As above, in quotes.")],
    collection: options.Collection,
    dictionary: Annotated[
        str | None,
        typer.Option(
            help="name@version that the numbers are of; another one under the "
            "collection is refused."
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Search only RNAs with such metadata, as ribolex search does: "
            "type=tRNA, length>=50; may be given several times.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1000, help="Most RNAs to print.")
    ] = 20,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help='Write all of them to a file; "-": to stdout.'
        ),
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="Of the file; without it as its name ends: .bed, .gff3, else tsv.",
        ),
    ] = None,
    as_json: options.AsJson = False,
    timeout: options.Timeout = 300.0,
) -> None:
    """Find the RNAs in which features fire, and where.

    \b
    812, f812                feature 812 fires; 812>1.5 or 812>=1.5: so strongly
    A and B, A or B, not A   in one RNA; a comma is an "and" that binds least
    A before B, A after B    A fires at a nucleotide before (after) one of B
    A within 30 of B         at most 30 nt apart; or within 30 before (after) B
    A not within 30 of B     with no B there; start, end: an RNA's first, last nt

    Such as "812 within 30 nt before 77, not 5". Places may be chained, "A before B
    within 9 of C", and "(A or B) before C" takes either. What is shown are the
    nucleotides that have part in it; BED counts them from 0, all else from 1.
    """  # noqa: D301
    if as_json and (out is not None or form is not None):
        raise typer.BadParameter("give one of --json and --output")
    asked: dict[str, Any] = {
        "query": query,
        "dictionary": dictionary,
        "where": [parse_condition(one) for one in where or ()],
    }
    try:
        with place.connect(timeout, collection) as client:
            if as_json:
                for match in client.search_features_pages(collection, **asked):
                    typer.echo(output.to_json(match))
            elif out is None and form is None:
                found = client.search_features(
                    collection, **asked, page_size=limit, count=True
                )
                print_matches(console(), query, found)
            else:
                _write(client, collection, asked, out or STDIN, form)
    except InvalidRequestError as error:
        _point(query, error)


def _write(
    client: Client,
    collection: str,
    asked: dict[str, Any],
    out: Path,
    form: Format | None,
) -> None:
    """Writes every match to a file."""
    chosen = form or _ENDINGS.get(out.suffix.lower(), Format.TSV)
    with ExitStack() as stack:
        file = open_output(stack, out)
        assert file is not None  # there is one to open
        advance = stack.enter_context(progress("finding", None))
        pages = _pages(client, collection, asked)
        write_matches(file, chosen.value, asked["query"], _counted(pages, advance))


def _counted(pages: Iterator[FeatureMatches], advance: Any) -> Iterator[FeatureMatches]:
    for page in pages:
        yield page
        advance(len(page))


def _pages(
    client: Client, collection: str, asked: dict[str, Any]
) -> Iterator[FeatureMatches]:
    token = ""
    while True:
        page = client.search_features(
            collection, **asked, page_size=_PAGE_SIZE, page_token=token
        )
        yield page
        token = page.next_page_token
        if not token:
            return


def _point(query: str, error: InvalidRequestError) -> None:
    """Ends the command with the character at fault below the error.

    Raises:
        InvalidRequestError: as it came: it is not about a character.
        Exit: else.
    """
    for one in error.violations:
        found = _CHARACTER.fullmatch(one.field)
        if found:
            at = int(found[1])
            shown, mark = pointed(query, at, max(console().width - 4, 20))
            fault = f"ribolex: query, character {at + 1}: {one.description}"
            typer.echo(f"{fault}\n  {shown}\n  {mark}", err=True)
            raise typer.Exit(1) from error
    raise error

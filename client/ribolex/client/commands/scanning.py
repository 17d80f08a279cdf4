"""The command `scan`: what variants of an RNA change."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from ribolex.client import output
from ribolex.client.commands import options
from ribolex.client.commands.batches import report_batch
from ribolex.client.commands.local import Place, with_model
from ribolex.client.commands.searching import console, one_rna, open_output
from ribolex.client.errors import InvalidRequestError
from ribolex.client.fasta import read_fasta
from ribolex.client.heat_map import write_heat_map
from ribolex.client.pictures import check_suffix
from ribolex.client.progress import progress
from ribolex.client.scan_tsv import write_scan
from ribolex.client.scan_view import print_scan


@with_model
def scan(
    place: Place,
    rna: Annotated[
        str,
        typer.Argument(metavar="RNA", help="A FASTA file of one RNA, or letters."),
    ],
    variants: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VARIANT",
            help="12A>G, 12_14del, 12_13insGA, 12_14delinsGA, '12A>G;40C>U'; none: all "
            "substitutions.",
        ),
    ] = None,
    alternatives: Annotated[
        Path | None,
        typer.Option(metavar="FASTA", help="Variants as whole sequences."),
    ] = None,
    positions: Annotated[
        str,
        typer.Option(
            metavar="FIRST-LAST", help="Substitute only these, counted from 1."
        ),
    ] = "",
    reach: Annotated[
        int, typer.Option(min=0, max=100_000, help='Nucleotides that are "near".')
    ] = 10,
    features: Annotated[
        int, typer.Option(min=0, max=1000, help="Most features to name a variant.")
    ] = 8,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help='Write a tab-separated table; "-": to stdout.'
        ),
    ] = None,
    heat_map: Annotated[
        Path | None,
        typer.Option(help="Draw substitutions: .svg, .png or .pdf; ribolex[plot]."),
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="Most variants to print.")] = 10,
    dictionary: options.DictionaryName = None,
    skip_rejected: options.SkipRejected = False,
    as_json: options.AsJson = False,
    timeout: options.Timeout = 3600.0,
) -> None:
    """Say what variants of an RNA change.

    For each variant: by how many nats the model expects it more than the reference
    (masked: with the letters hidden, substitutions only; ratio: of the whole RNA, read
    at once), and what its code gains and loses.
    """
    if bool(variants) + bool(alternatives) + bool(positions) > 1:
        raise typer.BadParameter("give one of VARIANT, --alternatives and --positions")
    if out is not None and as_json:
        raise typer.BadParameter("give one of --output and --json")
    if heat_map is not None:
        check_suffix(heat_map)
    reference = one_rna(rna, "RNA")
    asked: dict[str, Any] = {"saturate": _range(positions)}
    names: list[str] = []
    if variants:
        asked = {"variants": variants}
        names = variants
    elif alternatives is not None:
        given = list(read_fasta(alternatives))
        asked = {"alternatives": [one.sequence for one in given]}
        names = [one.name for one in given]
    with (
        place.connect(timeout) as client,
        progress("scanning", None, "variants") as advance,
    ):
        found = client.scan(
            reference.sequence,
            dictionary=dictionary,
            reach=reach,
            max_features=features,
            on_rejection="skip",
            on_progress=advance,
            **asked,
        )
    report_batch(found.rejections, names, skip_rejected, "variants")
    if heat_map is not None:
        write_heat_map(heat_map, reference.name, found)
    with ExitStack() as stack:
        file = open_output(stack, out)
        if file is not None:
            write_scan(file, found)
        elif as_json:
            typer.echo(output.to_json(found))
        else:
            print_scan(console(), reference.name, found, top)


def _range(text: str) -> bool | tuple[int, int]:
    """Returns which nucleotides to substitute, counted from 0; True for all."""
    if not text:
        return True
    first, _, last = text.partition("-")
    last = last or first
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise InvalidRequestError(f"positions: {text!r}, expected such as 12-40")
    return int(first) - 1, int(last)

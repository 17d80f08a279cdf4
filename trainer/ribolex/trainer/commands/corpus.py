"""`ribolex corpus build` and `show`: RNAs to train on and to measure on."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ribolex.trainer.corpus import Corpus

_WIDE = 240
_N_TYPES = 3
_SHOWN_EXAMPLES = 3


def build(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="FASTA, Stockholm (Rfam.seed) or a table with the columns name and "
            "sequence, gzipped or not.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the corpus to.")],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Table for RNAs of FASTA: name, and any of family_acc, family, type "
            "and clan. An RNA without a family is a family of its own."
        ),
    ] = None,
    shortest: Annotated[
        int, typer.Option(help="Leave out shorter RNAs, in nucleotides.")
    ] = 10,
    longest: Annotated[
        int, typer.Option(help="Leave out longer RNAs, in nucleotides.")
    ] = 100_000,
    max_ambiguous: Annotated[
        float,
        typer.Option(
            help="Leave out RNAs with a larger share of letters that are not ACGU."
        ),
    ] = 0.1,
    degap: Annotated[
        bool,
        typer.Option(
            "--degap",
            help="Take gaps out of FASTA and tables; else they are wrong letters.",
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Stop at the first wrong letter; else leave the RNA out."
        ),
    ] = False,
    validation: Annotated[
        float, typer.Option(help="Share of clans to choose and tune on.")
    ] = 0.1,
    test: Annotated[
        float, typer.Option(help="Share of clans to report on in the end.")
    ] = 0.1,
    salt: Annotated[str, typer.Option(help="Another salt, another split.")] = "ribolex",
    identity: Annotated[
        float | None,
        typer.Option(
            help="Drop from validation and test what MMseqs2 finds at this identity "
            "(0.8, say) over 80 % of its length in train. Train keeps all."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the corpus that is at --out.")
    ] = False,
) -> None:
    """Make a corpus: train, validation and test, split by whole clans.

    RNAs are checked, each sequence is kept once, and a hash of the clan's accession
    (the family's where there is no clan, else the RNA's name) decides the part, so
    that a clan stays where it is as the corpus grows. Prints what became of the RNAs
    and what was left out; OUT/corpus.json says the same and more.
    """
    from ribolex.trainer.corpus import CorpusOptions, Shares, build_corpus

    options = CorpusOptions(
        shortest=shortest,
        longest=longest,
        max_ambiguous=max_ambiguous,
        degap=degap,
        strict=strict,
        shares=Shares(validation, test),
        salt=salt,
        identity=identity,
    )
    console = Console(stderr=True)
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description} {task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("read", total=None, note="")

        def tell(stage: str, n_rnas: int) -> None:
            if n_rnas % 1000 == 0:
                note = f"{n_rnas:,} RNAs" if n_rnas else ""
                bar.update(task, description=stage, note=note)

        corpus = build_corpus(inputs, out, options, tell, labels=labels, force=force)
    _print(corpus)


def show(
    folder: Annotated[Path, typer.Argument(help="Folder of a corpus.")],
) -> None:
    """Check a corpus and print what is in it and what was left out."""
    from ribolex.trainer.corpus import open_corpus

    _print(open_corpus(folder))


def _print(corpus: "Corpus") -> None:
    is_fixed = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if is_fixed else _WIDE)
    console.print(_parts(corpus))
    for title, tallies in (
        ("left out", corpus.manifest.dropped),
        ("to be noted", corpus.manifest.noted),
    ):
        if not tallies:
            continue
        table = Table("number", title, "of which")
        table.columns[0].justify = "right"
        for reason, tally in tallies.items():
            examples = Text("\n".join(tally.examples[:_SHOWN_EXAMPLES]))
            table.add_row(f"{tally.n:,}", reason, examples)
        console.print(table)


def _parts(corpus: "Corpus") -> Group:
    table = Table("part")
    for heading in ("RNAs", "nucleotides", "families", "clans", "structures"):
        table.add_column(heading, justify="right")
    table.add_column("aligned", justify="right")
    table.add_column("commonest types")
    manifest = corpus.manifest
    for part, record in manifest.parts.items():
        kinds = list(record.types.items())[:_N_TYPES]
        numbers = (
            record.n_rnas,
            record.n_nucleotides,
            record.n_families,
            record.n_clans,
            record.n_structures,
            record.n_aligned,
        )
        table.add_row(
            part,
            *(f"{number:,}" for number in numbers),
            Text("\n".join(f"{kind or 'unknown'}: {n:,}" for kind, n in kinds)),
        )
    names = ", ".join(record.name for record in manifest.inputs)
    kept = sum(record.n_rnas for record in manifest.parts.values())
    heading = f"{corpus.folder}: {kept:,} of {manifest.n_read:,} RNAs of {names}"
    return Group(Text(heading), table)

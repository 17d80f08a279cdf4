"""`ribolex dictionaries align`: learns how RNAs are aligned by a dictionary's codes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ribolex.trainer.commands import options
from ribolex.trainer.commands.bars import StageBars

if TYPE_CHECKING:
    from ribolex.trainer.alignment import Learned


def align(
    dictionary: options.Reference,
    rnas: Annotated[
        list[Path],
        typer.Option(help="Table of RNAs of many families; may be repeated."),
    ],
    registry: options.Registry,
    aligned: Annotated[
        Path | None,
        typer.Option(
            help="Table of alignment rows (family_acc, name, aligned): what letters, "
            "likeness and gaps are worth is learned from relatives in it. Best of "
            "families that the language model was not trained on. Without it those "
            "numbers are the ones of the dictionaries in the box."
        ),
    ] = None,
    lm: options.Lm = "bundled",
    width: Annotated[
        int, typer.Option(min=1, max=256, help="Numbers of a nucleotide's vector.")
    ] = 32,
    pairs: Annotated[
        int, typer.Option(min=1, help="Pairs of relatives to learn from, at most.")
    ] = 250,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> None:
    """Learn how RNAs are aligned by a dictionary's codes.

    Publishes the dictionary with what was learned as its next version, and makes that
    current. Features and ids stay.
    """
    import numpy as np

    from ribolex.lm import load_lm
    from ribolex.registry import open_registry
    from ribolex.trainer.alignment import (
        AlignmentPlan,
        add_alignment,
        learn_alignment,
        read_relatives,
    )
    from ribolex.trainer.corpus import choose, read_corpus

    with StageBars(Console(stderr=True)) as bars:
        opened = open_registry(registry)
        found = opened.get(dictionary)
        model = load_lm(lm, device=device)
        plan = AlignmentPlan(width=width, seed=seed)
        relatives = None
        if aligned is not None:
            relatives = read_relatives(aligned, pairs, seed=seed)
        chosen = choose(
            read_corpus(rnas, model.max_nucleotides),
            plan.n_nucleotides,
            np.random.default_rng(seed),
        )
        learned = learn_alignment(
            found,
            model,
            [rna.sequence for rna in chosen],
            relatives,
            plan,
            bars.show,
        )
        published = add_alignment(found, learned.model, opened)
    console = Console()
    if learned.tried:
        console.print(_tabulate(learned))
    console.print(f"published {published.ref}")


def _tabulate(learned: "Learned") -> Table:
    table = Table(
        title=f"{learned.n_relatives} pairs of relatives, ranked among unrelated RNAs"
    )
    names = "similarity", "offset", "transition", "transversion"
    for heading in ("1/rank", *names, "gap_open", "gap_extend"):
        table.add_column(heading.replace("_", " "), justify="right")
    for scoring, rank in learned.tried:
        numbers = [getattr(scoring, name) for name in names]
        gaps = [scoring.gap_open, scoring.gap_extend]
        table.add_row(f"{rank:.3f}", *(f"{x:.3g}" for x in (*numbers, *gaps)))
    return table

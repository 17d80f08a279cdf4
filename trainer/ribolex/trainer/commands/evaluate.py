"""`ribolex evaluate`: measures a dictionary on RNAs of families that it never saw."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ribolex.trainer.commands import options
from ribolex.trainer.commands.bars import StageBars

if TYPE_CHECKING:
    from ribolex.dictionary import Dictionary
    from ribolex.trainer.evaluation import Evaluation


def evaluate(
    dictionary: Annotated[
        str,
        typer.Argument(help="Folder of a dictionary, or NAME[@VERSION] of --registry."),
    ],
    validation: Annotated[
        Path, typer.Option(help="Table of RNAs of families that it never saw.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for evaluation.json, card and plots."),
    ],
    training: Annotated[
        Path | None,
        typer.Option(
            help="Table of RNAs of other families: probes and components are fitted on "
            "them. Without it, on half of the clans of --validation, and probes are "
            "scored on the other half."
        ),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(help="Where NAME[@VERSION] is: a folder, or redis://...."),
    ] = None,
    lm: options.Lm = "bundled",
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Fit what it must beat, too: a random decoder, another seed and the "
            "same recipe on a random model. Wants --training.",
        ),
    ] = False,
    control_rows: Annotated[
        int, typer.Option(help="Nucleotides that each fit of --controls sees.")
    ] = 500_000,
    other: Annotated[
        str | None,
        typer.Option(help="A dictionary of another seed, to see what is found again."),
    ] = None,
    nucleotides: Annotated[
        int, typer.Option(help="Use at most so many of a table, families in turn.")
    ] = 100_000,
    workdir: options.Workdir = None,
    device: options.Device = "cpu",
) -> None:
    """Measure a published dictionary beside its controls.

    Variance unexplained, features a nucleotide, dead and dense ones, masked-letter
    loss recovered, sparse probes of structure and type, stability.

    Prints tables. Writes OUT/evaluation.json, OUT/README.md (the card) and
    OUT/evaluation.svg and .png.
    """
    from ribolex.lm import load_lm
    from ribolex.trainer.evaluation import write_card
    from ribolex.trainer.evaluation.plot import write_plots
    from ribolex.trainer.evaluation.run import EvaluationRun, evaluate_dictionary

    if controls and training is None:
        raise typer.BadParameter("--controls fits on --training: name a table")
    chosen = _find(dictionary, registry)
    out.mkdir(parents=True, exist_ok=True)
    run = EvaluationRun(
        validation=validation,
        training=training,
        other=None if other is None else _find(other, registry),
        control_rows=control_rows if controls else 0,
        n_nucleotides=nucleotides,
        device=device,
    )
    with StageBars(Console(stderr=True)) as bars:
        model = load_lm(lm, device=device)
        found = evaluate_dictionary(chosen, model, run, workdir, bars.show)
    (out / "evaluation.json").write_bytes(found.to_bytes())
    card = write_card(found, chosen.identity)
    (out / "README.md").write_text(card, encoding="utf-8")
    write_plots(found, out)
    _print(found, out)


def _print(found: "Evaluation", out: Path) -> None:
    from ribolex.trainer.commands.tables import tabulate

    console = Console()
    for table in tabulate(found):
        console.print(table)
    console.print(f"written to {out}")


def _find(name: str, registry: str | None) -> "Dictionary":
    from ribolex.dictionary import load_dictionary
    from ribolex.registry import open_registry

    if registry is not None:
        return open_registry(registry).get(name)
    return load_dictionary(Path(name))

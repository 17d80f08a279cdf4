"""`ribolex score-lm`: measures a language model and puts the figures on its card."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from ribolex.trainer.commands import options

if TYPE_CHECKING:
    from ribolex.trainer.corpus import Part
    from ribolex.trainer.pretraining.evaluation import EvaluationData


def score_lm(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    corpus: Annotated[
        Path | None,
        typer.Option(help="Folder that `ribolex corpus build` made."),
    ] = None,
    part: Annotated[
        str, typer.Option(help="Of the corpus, to measure on: validation or test.")
    ] = "validation",
    training: Annotated[
        Path | None,
        typer.Option(help="Without --corpus: table of RNAs of training families."),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Without --corpus: table of RNAs of families that it never saw."
        ),
    ] = None,
    aligned: Annotated[
        Path | None,
        typer.Option(
            help="Without --corpus: alignment rows of the validation families."
        ),
    ] = None,
    dictionary: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a dictionary of this model: its codes are aligned."
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Few queries, small database, bfloat16 if there is; card untouched.",
        ),
    ] = False,
    queries: Annotated[
        int, typer.Option(help="Near queries, and remote ones; 0 for 400, quick 100.")
    ] = 0,
    others: Annotated[
        int,
        typer.Option(
            help="RNAs of other families to search; 0 for all, quick 1,200.",
        ),
    ] = 0,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="File in which every finished part is kept: a run that was stopped "
            "goes on, and the next model finds the baselines."
        ),
    ] = None,
    device: options.Device = "cpu",
) -> None:
    """Measure a language model on families that it never saw.

    Letters by type and pairing, structure by linear probes, finding of near and remote
    relatives; beside context models, words and alignment of letters, a random twin.

    Prints the tables. Without --quick, writes MODEL/scores.json and puts the tables on
    the card, MODEL/README.md.
    """
    from ribolex.dictionary import load_dictionary
    from ribolex.lm import Precision, load_lm
    from ribolex.trainer.pretraining.card import CARD_FILE
    from ribolex.trainer.pretraining.evaluation import (
        QUICK,
        SCORES_FILE,
        EvaluationPlan,
        evaluate_lm,
        random_twin,
        write_scores,
    )
    from ribolex.trainer.pretraining.kept import KeptResults
    from ribolex.trainer.pretraining.report import put_on_card, render

    data = _data(corpus, part, training, validation, aligned)
    plan = QUICK if quick else EvaluationPlan()
    cases = replace(
        plan.cases,
        n_queries=queries or plan.cases.n_queries,
        n_others=others or plan.cases.n_others,
    )
    precision: Precision = "auto" if quick else "float32"
    lm = load_lm(model, device=device, precision=precision)
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def note(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done)

        scores = evaluate_lm(
            lm,
            random_twin(lm, device=device, precision=precision),
            data,
            replace(plan, cases=cases),
            KeptResults(keep),
            None if dictionary is None else load_dictionary(dictionary),
            note,
        )
    text = render(scores)
    typer.echo(text)
    if not quick:
        write_scores(model / SCORES_FILE, scores)
        put_on_card(model / CARD_FILE, text)


def _data(
    corpus: Path | None,
    part: str,
    training: Path | None,
    validation: Path | None,
    aligned: Path | None,
) -> "EvaluationData":
    from ribolex.trainer.pretraining.evaluation import EvaluationData

    if part not in ("validation", "test"):
        raise typer.BadParameter(f"--part {part}, expected validation or test")
    if corpus and not (training or validation or aligned):
        return EvaluationData.of_corpus(corpus, cast("Part", part))
    if training and validation and aligned and not corpus:
        return EvaluationData(training, validation, aligned)
    raise typer.BadParameter(
        "give either --corpus, or --training, --validation and --aligned"
    )

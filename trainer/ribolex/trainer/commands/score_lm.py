"""`ribolex score-lm`: measures a language model and puts the figures on its card."""

import logging
from pathlib import Path
from typing import Annotated

import typer


def score_lm(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    training: Annotated[Path, typer.Option(help="Table of RNAs of training families.")],
    validation: Annotated[
        Path, typer.Option(help="Table of RNAs of families that it never saw.")
    ],
    aligned: Annotated[
        Path,
        typer.Option(help="Alignment rows of the validation families."),
    ],
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
    keep: Annotated[
        Path | None,
        typer.Option(help="File in which baselines are kept for the next model."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
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
        EvaluationData,
        EvaluationPlan,
        evaluate_lm,
        random_twin,
        write_scores,
    )
    from ribolex.trainer.pretraining.kept import KeptResults
    from ribolex.trainer.pretraining.report import put_on_card, render

    logging.basicConfig(level=logging.INFO)
    precision: Precision = "auto" if quick else "float32"
    lm = load_lm(model, device=device, precision=precision)
    scores = evaluate_lm(
        lm,
        random_twin(lm, device=device, precision=precision),
        EvaluationData(training, validation, aligned),
        QUICK if quick else EvaluationPlan(),
        KeptResults(keep),
        None if dictionary is None else load_dictionary(dictionary),
    )
    text = render(scores)
    typer.echo(text)
    if not quick:
        write_scores(model / SCORES_FILE, scores)
        put_on_card(model / CARD_FILE, text)

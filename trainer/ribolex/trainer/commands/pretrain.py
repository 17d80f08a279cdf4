"""`ribolex pretrain`: trains a language model from tables of RNAs."""

import logging
import time
from pathlib import Path
from typing import Annotated

import typer

from ribolex.trainer.commands import options


def pretrain(
    out: Annotated[
        Path,
        typer.Option(help="Folder of checkpoint, log and model; a run in it goes on."),
    ],
    corpus: Annotated[
        Path | None,
        typer.Option(
            help="Folder that `ribolex corpus build` made, of files with alignments."
        ),
    ] = None,
    rnas: Annotated[
        list[Path] | None,
        typer.Option(
            help="Without --corpus: table of RNAs (.tsv, .tsv.gz); may be given "
            "several times."
        ),
    ] = None,
    aligned: Annotated[
        Path | None,
        typer.Option(
            help="Without --corpus: table of alignment rows: family_acc, name, aligned."
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Without --corpus: table of RNAs of other families, scored as it goes."
        ),
    ] = None,
    total_tokens: Annotated[
        int, typer.Option(help="Tokens to see; the learning rate falls towards it.")
    ] = 50_000_000,
    minutes: Annotated[
        float, typer.Option(help="Stop at the first checkpoint after so long.")
    ] = float("inf"),
    d_model: Annotated[int, typer.Option(help="Width of the model.")] = 192,
    n_layers: Annotated[int, typer.Option(help="Blocks.")] = 7,
    n_heads: Annotated[int, typer.Option(help="Attention heads.")] = 6,
    batch_tokens: Annotated[
        int, typer.Option(help="Tokens a batch, in each process.")
    ] = 1024,
    pair_share: Annotated[
        float, typer.Option(help="Share of batches that hold aligned pairs.")
    ] = 0.6,
    contrast_weight: Annotated[
        float, typer.Option(help="Weight of the alignment contrast loss.")
    ] = 0.3,
    structure_weight: Annotated[
        float,
        typer.Option(help="Weight of the losses on structure, where it is known."),
    ] = 0.3,
    start: Annotated[
        Path | None,
        typer.Option(help="Checkpoint of another run, whose weights to begin with."),
    ] = None,
    learning_rate: Annotated[float, typer.Option(help="Peak of the rate.")] = 6e-4,
    checkpoint_steps: Annotated[
        int, typer.Option(help="Steps between checkpoints, each scored.")
    ] = 2000,
    processes: Annotated[
        int, typer.Option(help="CPU processes of one thread each.")
    ] = 1,
    device: options.Device = "cpu",
    seed: Annotated[int, typer.Option(help="Same seed, same batches.")] = 0,
    name: Annotated[
        str, typer.Option(help="Name of the model and its folder.")
    ] = "model",
) -> None:
    """Train a language model on a corpus, or on tables of RNAs.

    Hidden letters, alignment contrast between relatives, and, where the tables give
    structures, which nucleotides pair and with which.

    Writes a checkpoint and a log line every few thousand steps and, at the end, the
    model with its card as OUT/NAME. Killed and started again with the same options,
    it goes on.
    """
    from ribolex.lm import LmConfig
    from ribolex.trainer.pretraining import (
        BatchPlan,
        PretrainingData,
        PretrainingPlan,
        launch,
        write_model,
    )

    if corpus and not (rnas or aligned or validation):
        data = PretrainingData.of_corpus(corpus)
    elif rnas and aligned and validation and not corpus:
        data = PretrainingData(rnas, aligned, validation)
    else:
        raise typer.BadParameter(
            "give either --corpus, or --rnas, --aligned and --validation"
        )
    logging.basicConfig(level=logging.INFO)
    plan = PretrainingPlan(
        model=LmConfig.of_width(d_model, n_layers, n_heads),
        batches=BatchPlan(n_tokens=batch_tokens, pair_share=pair_share),
        total_tokens=total_tokens,
        learning_rate=learning_rate,
        contrast_weight=contrast_weight,
        structure_weight=structure_weight,
        start=start,
        checkpoint_steps=checkpoint_steps,
        seed=seed,
        device=device,
    )
    launch(plan, data, out, processes=processes, stop_at=time.time() + minutes * 60)
    scores = write_model(out, plan, data, name)
    typer.echo(
        f"wrote {out / name}: {scores.lm.cross_entropy:.3f} nats and "
        f"{scores.lm.accuracy:.1%} right on families it never saw "
        f"(context model {scores.context.cross_entropy:.3f}, "
        f"unigram {scores.unigram.cross_entropy:.3f})"
    )

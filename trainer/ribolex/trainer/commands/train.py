"""`ribolex train`: trains a dictionary on a layer and publishes it if it is good."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ribolex.trainer.commands import options


def train(
    name: Annotated[str, typer.Option(help="Name of the dictionary.")],
    corpus: Annotated[
        Path | None,
        typer.Option(help="Folder that `ribolex corpus build` made: train, measure."),
    ] = None,
    rnas: Annotated[
        list[Path] | None,
        typer.Option(
            help="Without --corpus: table of RNAs (.tsv, .tsv.gz) to train on; may be "
            "given several times."
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Without --corpus: table of RNAs of other families, to measure on."
        ),
    ] = None,
    registry: Annotated[
        str, typer.Option(help="Where to publish: a folder, or redis://....")
    ] = "dictionaries",
    workdir: Annotated[
        Path, typer.Option(help="Folder of cached activations; a second run uses them.")
    ] = Path("training"),
    lm: Annotated[
        str,
        typer.Option(help="A RiNALMo: name, folder or file, or the one in the box."),
    ] = "bundled",
    layer: Annotated[
        int, typer.Option(help="Layer to read, from 1; 0 for the middle one.")
    ] = 0,
    target_layer: Annotated[
        int,
        typer.Option(help="Make a transcoder that rebuilds this layer instead; 0: no."),
    ] = 0,
    difference: Annotated[
        bool,
        typer.Option(
            "--difference",
            help="Of --target-layer, rebuild by how much it differs from --layer.",
        ),
    ] = False,
    objective: Annotated[
        Literal["relu", "topk", "batchtopk", "matryoshka"],
        typer.Option(
            help="What is minimised; docs/training.md compares them. All but relu "
            "fire --k features a nucleotide in the mean."
        ),
    ] = "topk",
    scale: Annotated[
        Literal["dimension", "common"],
        typer.Option(
            help="What activations are divided by: the deviation of each dimension, "
            "or one for all, which leaves less of the variance unexplained."
        ),
    ] = "dimension",
    orthogonality: Annotated[
        float, typer.Option(help="Weight of the OrtSAE penalty; not with relu.")
    ] = 0.0,
    l1: Annotated[
        float, typer.Option(help="Weight of the L1 penalty, with relu only.")
    ] = 3e-3,
    features: Annotated[
        int, typer.Option(help="Features to learn; 0 to go by --expansion.")
    ] = 0,
    expansion: Annotated[
        int, typer.Option(help="Features for each dimension of the model.")
    ] = 16,
    k: Annotated[int, typer.Option(help="Features that fire on a nucleotide.")] = 16,
    nucleotides: Annotated[
        int,
        typer.Option(help="Cache at most so many of the tables, families in turn."),
    ] = 4_000_000,
    tokens: Annotated[
        int, typer.Option(help="Nucleotides to see in the fit, some more than once.")
    ] = 8_000_000,
    batch_rows: Annotated[int, typer.Option(help="Nucleotides a step.")] = 1024,
    learning_rate: Annotated[
        float,
        typer.Option(
            help="Peak of the rate; 0 for 4.4e-4 / sqrt(features / 2^14), or 1e-3 "
            "with relu."
        ),
    ] = 0.0,
    licence: Annotated[
        str, typer.Option(help="Licence to publish under, an SPDX expression.")
    ] = "Apache-2.0",
    device: options.Device = "cpu",
    threads: Annotated[
        int, typer.Option(help="CPU threads; 0 for as many as torch likes.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Same seed, same dictionary.")] = 0,
) -> None:
    """Train a dictionary, check it and publish it.

    Caches activations, fits, describes the features, measures: what `ribolex trainer
    run` does for a file of many.

    Prints what was measured on RNAs of families that it never saw, beside controls.
    Exits with 3, and publishes nothing, if a gate fails. A run that was killed goes on
    where it was. Started by torchrun, several processes fit together.
    """
    from ribolex.trainer.commands.trainer import run_config
    from ribolex.trainer.process import make_config

    if (corpus is None) != bool(rnas) or bool(rnas) != (validation is not None):
        raise typer.BadParameter("give either --corpus, or --rnas and --validation")
    of_corpus: dict[str, object] = {"folder": corpus}
    if corpus is None:
        of_corpus = {"train": rnas, "validation": validation}
    dictionary = {
        "name": name,
        "layer": layer,
        "target_layer": target_layer or None,
        "difference": difference,
        "objective": objective,
        "k": k,
        "features": features or None,
        "expansion": expansion,
        "tokens": tokens,
        "batch_rows": batch_rows,
        "learning_rate": learning_rate or None,
        "scale": scale,
        "orthogonality": orthogonality,
        "l1": l1,
        "seed": seed,
        "licence": licence,
    }
    fields = {
        "registry": registry,
        "workdir": workdir,
        "device": device,
        "threads": threads,
        "corpus": of_corpus,
        "model": {"name": lm},
        "activations": {"nucleotides": nucleotides, "seed": seed},
        "dictionary": [dictionary],
    }
    config = make_config(fields, "options")
    raise typer.Exit(run_config(config, "bars", with_tables=True))

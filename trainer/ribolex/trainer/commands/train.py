"""`ribolex train`: trains a dictionary on a layer and publishes it if it is good."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from ribolex.trainer.commands.bars import StageBars


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
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[
        int, typer.Option(help="CPU threads; 0 for as many as torch likes.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Same seed, same dictionary.")] = 0,
) -> None:
    """Train a dictionary, check it and publish it.

    Caches activations, fits, describes the features, measures.

    Prints what was measured on RNAs of families that it never saw, beside controls.
    Exits with 1, and publishes nothing, if a gate fails. A run that was killed goes on
    where it was. Started by torchrun, several processes fit together.
    """
    import torch

    from ribolex.lm import load_lm
    from ribolex.registry import open_registry
    from ribolex.trainer.commands.tables import describe_failure, tabulate
    from ribolex.trainer.fit import FitPlan
    from ribolex.trainer.pipeline import TrainPlan
    from ribolex.trainer.pipeline import train as run
    from ribolex.trainer.ranks import joined_ranks, rank

    logging.basicConfig(level=logging.WARNING)
    if threads:
        torch.set_num_threads(threads)
    tables = _tables(corpus, rnas, validation)
    store = open_registry(registry)
    target: Literal["same", "layer", "difference"] = "same"
    if target_layer:
        target = "difference" if difference else "layer"
    console = Console()
    with joined_ranks(device) as place:
        model = load_lm(lm, device=place)
        plan = TrainPlan(
            name=name,
            rnas=tables[0],
            validation=tables[1],
            layer=layer or (model.config.n_layers + 1) // 2,
            target_layer=target_layer or None,
            n_nucleotides=nucleotides,
            licence=licence,
            fit=FitPlan(
                n_features=features or expansion * model.config.d_model,
                k=k,
                objective=objective,
                target=target,
                orthogonality=orthogonality,
                l1=l1,
                n_rows=tokens,
                batch_rows=batch_rows,
                learning_rate=learning_rate or None,
                seed=seed,
                device=place,
            ),
        )
        with StageBars(console, is_shown=rank() == 0) as bars:
            outcome = run(plan, model, store, workdir, lambda stage: bars.show(*stage))
    if outcome is None:  # the first process says it
        return
    for table in tabulate(outcome.checked.evaluation, outcome.checked.gates):
        console.print(table)
    if outcome.ref is None:
        for gate in outcome.checked.failed:
            console.print(describe_failure(gate))
        console.print("not published: a gate failed")
        raise typer.Exit(1)
    console.print(f"published {outcome.ref} in {store}, and made it current")


def _tables(
    corpus: Path | None, rnas: list[Path] | None, validation: Path | None
) -> tuple[list[Path], Path]:
    """Returns the tables to train on and the one to measure on."""
    from ribolex.trainer.corpus import open_corpus

    if corpus is not None and not rnas and validation is None:
        opened = open_corpus(corpus)
        return [opened.table("train")], opened.table("validation")
    if corpus is None and rnas and validation is not None:
        return rnas, validation
    raise typer.BadParameter("give either --corpus, or --rnas and --validation")

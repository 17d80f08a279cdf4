"""`ribolex annotate`: describes a published dictionary anew, as its next version."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ribolex.trainer.commands import options
from ribolex.trainer.commands.bars import StageBars

if TYPE_CHECKING:
    from ribolex.trainer.annotation.endpoint import Endpoint


def annotate(
    dictionary: options.Reference,
    rnas: options.LabelledRnas,
    registry: options.Registry,
    to: Annotated[
        str | None, typer.Option(help="Registry to publish to; else the same.")
    ] = None,
    lm: options.Lm = "bundled",
    nucleotides: Annotated[
        int, typer.Option(min=1, help="Use at most so many, families in turn.")
    ] = 3_000_000,
    control_rows: Annotated[
        int,
        typer.Option(
            min=0,
            help="Nucleotides that the random dictionary is fitted to, with which "
            "features are compared; 0 for none.",
        ),
    ] = 500_000,
    shuffled: Annotated[
        int,
        typer.Option(
            min=0, help="Nucleotides to shuffle, to see what fires there; 0 for none."
        ),
    ] = 200_000,
    fold: Annotated[
        bool,
        typer.Option(
            "--fold",
            help="Predict structures of RNAs that have none (ribolex[fold]); they are "
            "marked as predicted, and kept in --workdir.",
        ),
    ] = False,
    llm: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask a language model for labels as well: base URL of an "
            "OpenAI-compatible endpoint, key in RIBOLEX_LLM_KEY. Names, families, "
            "types and windows of RNAs are sent to it; without it nothing leaves this "
            "machine.",
        ),
    ] = None,
    llm_model: Annotated[str, typer.Option(help="Its name, with --llm.")] = "",
    llm_features: Annotated[
        int, typer.Option(min=1, help="Features to ask about, drawn by chance.")
    ] = 200,
    seed: options.Seed = 0,
    workdir: options.Workdir = None,
    device: options.Device = "cpu",
) -> None:
    """Describe the features of a dictionary anew, and publish it.

    The new version has the same weights, panel, card and ids: every feature goes on the
    one of its own id with confidence 1. It becomes current.
    """
    from ribolex.lm import load_lm
    from ribolex.registry import open_registry
    from ribolex.trainer.reannotate import Reannotation, reannotate

    source = open_registry(registry)
    plan = Reannotation(
        rnas=rnas,
        n_nucleotides=nucleotides,
        control_rows=control_rows,
        n_shuffled=shuffled,
        fold=fold,
        llm=_endpoint(llm, llm_model),
        n_asked=llm_features,
        seed=seed,
        device=device,
    )
    with StageBars(Console(stderr=True)) as bars:
        model = load_lm(lm, device=device)
        published = reannotate(
            source.get(dictionary),
            model,
            plan,
            source if to is None else open_registry(to),
            workdir,
            bars.show,
        )
    typer.echo(published.ref)


def _endpoint(url: str | None, model: str) -> "Endpoint | None":
    import os

    from ribolex.trainer.annotation.endpoint import Endpoint

    if url is None:
        return None
    if not model:
        raise typer.BadParameter("--llm wants --llm-model")
    return Endpoint(url, model, os.environ.get("RIBOLEX_LLM_KEY", ""))

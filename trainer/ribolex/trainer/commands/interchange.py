"""`ribolex dictionaries import` and `export`: weights of other tools, in and out."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ribolex.lm import LanguageModel
    from ribolex.trainer.interchange.data import Place, Sample
    from ribolex.trainer.interchange.importing import Imported
    from ribolex.trainer.interchange.source import Source


class Format(StrEnum):
    """Whose layout weights are in."""

    SAELENS = "saelens"
    SPARSIFY = "sparsify"
    INTERPLM = "interplm"


class FormatOrAuto(StrEnum):
    """Whose layout weights are in, or whichever the names of the files tell."""

    AUTO = "auto"
    SAELENS = "saelens"
    SPARSIFY = "sparsify"
    INTERPLM = "interplm"


class HookName(StrEnum):
    """Which vector of a layer."""

    NORMED = "normed"
    RAW = "raw"


class Choice(StrEnum):
    """Two ways to choose features that look alike in a file."""

    TOPK = "topk"
    BATCHTOPK = "batchtopk"


def import_(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A folder, or an ae.pt.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder to write; must not exist.")
    ],
    layer: Annotated[int, typer.Option(min=1, help="Layer that it reads, from 1.")],
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="The model that it is for.")
    ] = "bundled",
    hook: Annotated[
        HookName,
        typer.Option(help="What the next layer reads, or the raw output of the block."),
    ] = HookName.NORMED,
    form: Annotated[
        FormatOrAuto, typer.Option("--format", help="auto goes by the files' names.")
    ] = FormatOrAuto.AUTO,
    rnas: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="RNAs (.tsv, .tsv.gz) to try it on and describe its features with.",
        ),
    ] = None,
    activations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Activations of that layer to try it on instead: .npy, or "
            'safetensors with "x" (and "y", a transcoder\'s target).',
        ),
    ] = None,
    nucleotides: Annotated[
        int, typer.Option(min=2, help="At most so many of the table, families in turn.")
    ] = 100_000,
    name: Annotated[
        str | None, typer.Option(help="Name of the dictionary; OUT's without it.")
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            help="Most features on a nucleotide. Without it: of the file, else as the "
            "data need, so that at most 0.1 % of firings are cut.",
        ),
    ] = None,
    target_layer: Annotated[
        int | None, typer.Option(min=1, help="Layer that a transcoder rebuilds.")
    ] = None,
    difference: Annotated[
        bool, typer.Option("--difference", help="It rebuilds that layer less its own.")
    ] = False,
    means: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Means that activations were shifted by."),
    ] = None,
    stds: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Deviations that they were divided by."),
    ] = None,
    activation_scale: Annotated[
        float | None,
        typer.Option(help="SAELens' factor for expected_average_only_in."),
    ] = None,
    activation: Annotated[
        Choice | None, typer.Option(help="What an ae.pt is that may be either.")
    ] = None,
    rescaled: Annotated[
        bool,
        typer.Option("--rescaled", help="Divide codes by activation_rescale_factor."),
    ] = False,
    no_input_norm: Annotated[
        bool,
        typer.Option(
            "--no-input-norm", help="An InterProt file trained without its LayerNorm."
        ),
    ] = False,
    licence: Annotated[
        str, typer.Option(help="Licence of the weights, an SPDX expression.")
    ] = "NOASSERTION",
) -> None:
    """Make a dictionary of an autoencoder that another tool trained.

    Reads SAELens and sparsify folders and InterPLM's ae.pt; runs no code in them. What
    it imports is run beside the other tool's own forward pass, and nothing is written
    unless codes and what is rebuilt are the same to 1e-4. What is exact and what is
    refused: docs/interchange.md.
    """
    if rnas and activations:
        raise typer.BadParameter("take --rnas or --activations, not both")
    if (means is None) != (stds is None):
        raise typer.BadParameter("--means and --stds go together")
    if difference and target_layer is None:
        raise typer.BadParameter("--difference goes with --target-layer")
    from ribolex.lm import load_lm
    from ribolex.trainer.interchange.data import Place, read_moments
    from ribolex.trainer.interchange.importing import ImportPlan, import_dictionary
    from ribolex.trainer.interchange.reading import read_source
    from ribolex.trainer.interchange.source import Reading

    reading = Reading(
        k,
        activation_scale,
        activation.value if activation else None,
        rescaled,
        no_input_norm,
    )
    chosen = None if form is FormatOrAuto.AUTO else form.value
    found = read_source(source, chosen, reading)
    if means and stds:
        found = found.standardised(read_moments(means, stds, found.sae.d_in))
    lm = load_lm(model)
    place = Place(layer, hook.value, target_layer, difference)
    sample = _sample(found, lm, place, rnas, activations, nucleotides)
    plan = ImportPlan(name or out.name, place, k, licence)
    _tell(import_dictionary(found, sample, lm, plan, out), found, sample, out)


def export(
    dictionary: Annotated[
        Path, typer.Argument(metavar="DICTIONARY", help="A dictionary's folder.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder to write; must not exist.")
    ],
    form: Annotated[
        Format, typer.Option("--format", help="The tool that is to read it.")
    ],
) -> None:
    """Write a dictionary's weights as another tool reads them.

    Nothing is written unless they give the same there, to 1e-4, as they do here.
    """
    from ribolex.trainer.interchange.exporting import export_dictionary

    done = export_dictionary(dictionary, out, form.value)
    typer.echo(f"{done.ref} as {form.value} in {out}: {', '.join(done.files)}")
    typer.echo(f"  read back: {_agreement(*done.agreement)}")


def _sample(
    source: "Source",
    lm: "LanguageModel",
    place: "Place",
    rnas: Path | None,
    activations: Path | None,
    nucleotides: int,
) -> "Sample":
    from ribolex.trainer.interchange import data

    if rnas:
        return data.sample_rnas(lm, place, rnas, nucleotides, seed=0)
    if activations:
        return data.sample_file(activations, source.sae.d_in, seed=0)
    return data.sample_random(lm, place, seed=0)


def _tell(done: "Imported", source: "Source", sample: "Sample", out: Path) -> None:
    identity, found = done.manifest.identity, done.measures
    shape = f"{identity.n_features} features of {identity.d_in} dimensions"
    typer.echo(f"{done.manifest.name} in {out}: {source.tool}, {shape}")
    for note in source.notes:
        typer.echo(f"  {note}")
    typer.echo(f"  beside its own code: {_agreement(*done.agreement)}")
    typer.echo(
        f"  on {found.n_nucleotides:,} nucleotides, {sample.origin}: FVU "
        f"{found.fvu:.4f}, L0 {found.l0:.1f}, dead {found.dead_fraction:.1%}, dense "
        f"{found.dense_fraction:.1%}"
    )
    typer.echo(f"  k {identity.k}, which cuts {done.cut_share:.3%} of the firings")
    for warning in done.warnings:
        typer.echo(f"warning: {warning}", err=True)


def _agreement(codes: float, rebuilt: float, n_ties: int) -> str:
    text = f"codes off by {codes:.1e}, what is rebuilt by {rebuilt:.1e}"
    return text + (f", {n_ties} firings on an edge left out" if n_ties else "")

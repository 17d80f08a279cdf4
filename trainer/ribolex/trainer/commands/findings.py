"""`ribolex findings`: what features go with, beside everything that they must beat."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ribolex.trainer.commands import options
from ribolex.trainer.commands.bars import StageBars

if TYPE_CHECKING:
    from ribolex.trainer.findings import Tables
    from ribolex.trainer.findings.enrich import Enriched

_SHOWN = "structure", "tract", "type", "family"

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def labels(
    dictionaries: Annotated[
        list[str], typer.Argument(metavar="NAME[@VERSION]...", help="Of --registry.")
    ],
    rnas: options.LabelledRnas,
    registry: options.Registry,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for tables and plots.")
    ],
    held_out: Annotated[
        list[Path] | None,
        typer.Option(
            help="Table of RNAs of other families: the best feature of each label is "
            "chosen on --rnas and scored here."
        ),
    ] = None,
    lm: options.Lm = "bundled",
    nucleotides: options.FindingsNucleotides = 300_000,
    held_out_nucleotides: Annotated[
        int, typer.Option(min=1, help="Of --held-out about so many.")
    ] = 100_000,
    control_rows: Annotated[
        int,
        typer.Option(
            min=0,
            help="Nucleotides that a random dictionary, and one of an untrained model, "
            "are fitted to; 0 for neither.",
        ),
    ] = 300_000,
    seed: options.Seed = 0,
    workdir: options.Workdir = None,
    device: options.Device = "cpu",
) -> None:
    """Count features that go with labels, beside neurons and controls.

    Dictionaries, of several layers as a rule, transcoders included, against the model's
    own neurons, random directions, an untrained model, shuffled RNAs and coin flips:
    the same counts, tests and thresholds for all (docs/evidence.md, docs/findings.md).

    Prints tables. Writes arms.tsv (sparsity, selectivity), kinds.tsv (features that go
    with letters, tracts, structure, types, families), labels.tsv (each label, and its
    best feature on other families), features.tsv.gz, findings.svg and .png to OUT.
    """
    from ribolex.lm import load_lm
    from ribolex.registry import open_registry
    from ribolex.trainer.findings import Look, look
    from ribolex.trainer.findings.plot import write_plot

    source = open_registry(registry)
    plan = Look(
        rnas=rnas,
        held_out=held_out or [],
        n_nucleotides=nucleotides,
        n_held_out=held_out_nucleotides,
        control_rows=control_rows,
        seed=seed,
        device=device,
    )
    found = [source.get(name) for name in dictionaries]
    out.mkdir(parents=True, exist_ok=True)
    with StageBars(Console(stderr=True)) as bars:
        model = load_lm(lm, device=device)
        tables = look(found, model, plan, workdir, bars.show)
    tables.write(out)
    write_plot(tables, out)
    _print(tables, out)


@app.command()
def terms(
    dictionary: options.Reference,
    rnas: Annotated[
        list[Path],
        typer.Option(help="Table of RNAs with types and families; may be repeated."),
    ],
    registry: options.Registry,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for tables.")],
    annotations: Annotated[
        list[Path] | None,
        typer.Option(
            "--terms",
            help="Terms beside types, families and clans: a GAF file, or a table of "
            "name, tab, term; names are those of RNAs, or accessions of their "
            "sources, families or clans. May be repeated.",
        ),
    ] = None,
    obo: Annotated[
        Path | None,
        typer.Option(help="OBO file: an RNA has whatever its terms are part of."),
    ] = None,
    lm: options.Lm = "bundled",
    nucleotides: options.FindingsNucleotides = 300_000,
    control_rows: Annotated[
        int,
        typer.Option(
            min=0,
            help="Rows that a random dictionary, and one of an untrained model, are "
            "fitted to; 0 for neither.",
        ),
    ] = 300_000,
    deals: Annotated[
        int, typer.Option(min=0, help="Times that terms are dealt out by chance.")
    ] = 5,
    seed: options.Seed = 0,
    workdir: options.Workdir = None,
    device: options.Device = "cpu",
) -> None:
    """Test the RNAs in which features fire for terms of an ontology.

    Best with a dictionary of whole sequences (level = "sequence"). One false-discovery
    rate over all features and terms, terms of three clans or more tested over clans,
    RNAs against those of their length; beside it the papers' rule, Fisher's test over
    RNAs corrected within each feature. Both again for controls, coin flips among them,
    and for terms dealt out by chance among RNAs of about one length.

    Prints tables. Writes counts.tsv and terms.tsv.gz to OUT.
    """
    from ribolex.lm import load_lm
    from ribolex.registry import open_registry
    from ribolex.trainer.findings.enrich import Enrichment, enrich
    from ribolex.trainer.findings.tables import as_tsv, write_packed

    plan = Enrichment(
        rnas=rnas,
        terms=annotations or [],
        obo=obo,
        n_nucleotides=nucleotides,
        control_rows=control_rows,
        n_deals=deals,
        seed=seed,
        device=device,
    )
    found = open_registry(registry).get(dictionary)
    out.mkdir(parents=True, exist_ok=True)
    with StageBars(Console(stderr=True)) as bars:
        model = load_lm(lm, device=device)
        enriched = enrich(found, model, plan, workdir, bars.show)
    (out / "counts.tsv").write_text(as_tsv(enriched.counts), encoding="utf-8")
    write_packed(enriched.rows, out / "terms.tsv.gz")
    _print_terms(enriched, out)


def _print_terms(enriched: "Enriched", out: Path) -> None:
    console = Console()
    basis = ", ".join(f"{n:,} {name}" for name, n in enriched.basis.items())
    table = Table(
        title=f"features with a term; of terms dealt by chance: {basis}",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("", no_wrap=True)
    for heading in ("fire", "with a term", "dealt", "papers' rule", "dealt"):
        table.add_column(heading, justify="right")
    for row in enriched.counts:
        table.add_row(
            row.arm,
            f"{row.n_features:,}",
            f"{row.features:,}",
            f"{row.features_dealt:,.1f}",
            f"{row.features_within:,}",
            f"{row.features_within_dealt:,.1f}",
        )
    console.print(table)
    console.print(f"written to {out}")


def _print(tables: "Tables", out: Path) -> None:
    console = Console()
    shares = {(row.dictionary, row.arm, row.kind): row for row in tables.kinds}
    for name in dict.fromkeys(row.dictionary for row in tables.arms):
        title = f"{name}: features that go with"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
        table.add_column("", no_wrap=True)
        for heading in ("tested", *_SHOWN, "selective"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in tables.arms:
            if row.dictionary == name:
                found = [shares[name, row.arm, kind].n_features for kind in _SHOWN]
                cells = [f"{n:,}" for n in (row.n_supported, *found)]
                table.add_row(row.arm, *cells, f"{row.selectivity_50:.2f}")
        console.print(table)
    basis = ", ".join(f"{n:,} {name}" for name, n in tables.basis.items() if n)
    console.print(f"on {basis}")
    console.print(f"written to {out}")

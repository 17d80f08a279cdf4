"""The commands `ribolex models list`, `pull`, `info` and `convert`.

Light: what reads weights is imported once a command is called. Results go to
standard output, progress and notes to standard error.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

_WIDE = 240
_SHA256_DIGITS = 64

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Precision(StrEnum):
    """The numbers that weights are written in."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class SourceName(StrEnum):
    """Who publishes weights of RiNALMo."""

    OFFICIAL = "official"
    MULTIMOLECULE = "multimolecule"


def register(app: typer.Typer) -> None:
    """Adds `models` and its commands to the `ribolex` command."""
    models = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    models.command(name="list")(list_models)
    models.command()(pull)
    models.command()(info)
    models.command()(convert)
    app.add_typer(models, name="models", help="Fetch RiNALMo's weights, look at them.")


def list_models(as_json: AsJson = False) -> None:
    """List models with names, and which are on this machine."""
    from ribolex.models.facts import list_facts

    rows = list_facts()
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = _table("model", ">parameters", ">layers", ">width", "sources", ">here")
    for row in rows:
        table.add_row(
            row["model"],
            f"{row['n_parameters'] / 1e6:.1f} M",
            f"{row['n_layers']}",
            f"{row['d_model']}",
            ", ".join(source["name"] for source in row["sources"]) or "-",
            _megabytes(row["size_bytes"]) if row["here"] else "-",
        )
    _console().print(table)


def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `list` has it.")],
    source: Annotated[
        SourceName | None,
        typer.Option(help="Where to fetch it; without it the official weights."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Take this file or folder and use no network.",
        ),
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Refuse a file of any other SHA-256."),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask here, where the host's own addresses are copied. Also "
            "RIBOLEX_ZENODO_URL (official), HF_ENDPOINT (multimolecule).",
        ),
    ] = None,
) -> None:
    """Put a model into the cache, downloaded or from a file.

    A download that broke off goes on where it was. The file is held against the
    checksums that are known beforehand and that its host states. The cache is
    $RIBOLEX_MODELS, else ribolex in $XDG_CACHE_HOME, else ~/.cache/ribolex.
    """
    if file and (source or mirror):
        raise typer.BadParameter("--from goes without --source and --mirror")
    if sha256 is not None:
        sha256 = sha256.lower()
        if len(sha256) != _SHA256_DIGITS or set(sha256) - set("0123456789abcdef"):
            raise typer.BadParameter("--sha256 takes 64 hexadecimal digits")
    from ribolex.lm.hub import model_folder
    from ribolex.models import pull as pulling

    def tell_wait() -> None:
        typer.echo(f"another pull of {name} is running; waiting for it", err=True)

    if file:
        done = pulling.adopt(name, file, sha256=sha256, on_wait=tell_wait)
    else:
        with _progress(name) as advance:
            done = pulling.pull(
                name,
                source.value if source else None,
                sha256=sha256,
                mirror=mirror,
                on_progress=advance,
                on_wait=tell_wait,
            )
    origin = done.origin
    state = "is in the cache" if done.is_new else "was in the cache already, undamaged"
    typer.echo(f"{name} {state}: {model_folder(name)}")
    for check in origin.verified if done.is_new else ():
        typer.echo(
            f"  {check.algorithm} {check.digest}, as stated by {check.stated_by}"
        )
    typer.echo(f"  licence of these weights: {origin.licence}")


def info(
    model: Annotated[
        str, typer.Argument(metavar="NAME|PATH", help='A name, a path, or "bundled".')
    ],
    as_json: AsJson = False,
) -> None:
    """Show sizes, checksums, licence and place of a model.

    Reads the weights, so damage done since they were pulled is found.
    """
    from ribolex.models.facts import describe_model

    facts = describe_model(model)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    table = _table("", "")
    table.show_header = False
    for key, value in facts.items():
        for line, text in enumerate(_lines(key, value)):
            heading = key.replace("_", " ").removeprefix("n ").removesuffix(" bytes")
            table.add_row("" if line else heading, Text(text))
    _console().print(table)


def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help='A name, a path, or "bundled".')
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder to write; must not exist.")
    ],
    dtype: Annotated[
        Precision, typer.Option(help="Numbers to write; less than float32 rounds.")
    ] = Precision.FLOAT32,
) -> None:
    """Write weights of any readable layout as safetensors.

    Names and order of the tensors are the reference code's.
    """
    from ribolex.models.convert import convert as run

    done = run(source, folder, dtype.value)
    typer.echo(f"{done.name}: {done.n_parameters:,} parameters as {dtype} in {folder}")
    if done.largest_error:
        typer.echo(f"  rounding moved weights by at most {done.largest_error:.2g}")


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Gives a function to tell of the bytes that are here; draws on a terminal."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(key: str, value: Any) -> list[str]:
    """Returns a fact as people read it, in one line or several."""
    if value == "":
        return []
    if key == "verified":
        return [f"{c['algorithm']} as stated by {c['stated_by']}" for c in value]
    if key == "sources":
        told = [f"{one['name']} ({one['licence']}): {one['url']}" for one in value]
        return told or ["none"]
    if key == "size_bytes":
        return [_megabytes(value)]
    return [f"{value:,}" if isinstance(value, int) else str(value)]


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        is_number = column.startswith(">")
        table.add_column(
            column.removeprefix(">"),
            justify="right" if is_number else "left",
            overflow="fold",
        )
    return table


def _console() -> Console:
    """Returns standard output: as wide as the terminal, or wide where it is none."""
    is_fixed = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if is_fixed else _WIDE)

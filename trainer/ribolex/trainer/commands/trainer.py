"""`ribolex trainer`: makes the dictionaries of a file, and keeps them made."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ribolex.trainer.pipeline import Outcome
    from ribolex.trainer.process import Failure, Reporter, TrainerConfig

LogFormat = Literal["auto", "bars", "json"]
ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG.toml")]
FormatOption = Annotated[
    LogFormat,
    typer.Option(
        help='"bars" for people, "json" for a line an event; "auto" looks whether '
        "errors go to a terminal."
    ),
]
RegistryOption = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER|URL",
        help="Instead of the one in the file.",
        envvar="RIBOLEX_REGISTRY",
    ),
]
_WIDE = 240

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def run(
    config: ConfigArgument,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Keep running: train again when the corpus grows, or on "
            "`ribolex trainer request`.",
        ),
    ] = False,
    registry: RegistryOption = None,
    log_format: FormatOption = "auto",
) -> None:
    """Make every dictionary of a file, from its RNAs to the registry.

    Corpus, activations of all layers in one pass, fit, evaluate, annotate, gates,
    publish. What was done stays in the work folder: a run that was killed goes on
    where it was, one that changed does only what the change asks for, and the same
    file and RNAs give the same bytes. SIGTERM keeps where a fit stands and ends it.

    Exits with 0 if all is published, or was before, or SIGTERM came; with 1 if
    something broke; with 3 if a gate failed: such a dictionary stays in
    WORKDIR/dictionaries/NAME/candidate. Started by torchrun, as
    `torchrun --nproc-per-node 2 -m ribolex.trainer run CONFIG.toml`, processes fit
    together; torchrun itself then exits with 1 for any failure.
    """
    from ribolex.trainer.process import read_config

    said = read_config(config)
    if registry is not None:
        said = said.model_copy(update={"registry": registry})
    raise typer.Exit(run_config(said, log_format, is_watch=watch))


@app.command()
def check(config: ConfigArgument, registry: RegistryOption = None) -> None:
    """Check a file; print what it would make.

    Exits with 1 if a run could not begin. Builds, trains and writes nothing.
    """
    from ribolex.trainer.process import Reporter, Trainer, read_config
    from ribolex.trainer.process.corpora import demand, look
    from ribolex.trainer.stopping import Stop

    said = read_config(config)
    if registry is not None:
        said = said.model_copy(update={"registry": registry})
    trainer = Trainer(said, "cpu", Reporter([]), Stop())
    entries = {e.name: e.ref for e in trainer.registry.list() if e.is_current}
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("dictionary", "layer", "objective", "features", "k", "rows", "now"):
        table.add_column(column)
    for plan in trainer.plans():
        target = f" -> {plan.target_layer}" if plan.target_layer else ""
        table.add_row(
            Text(plan.name),
            f"{plan.layer}{target} {plan.hook}",
            plan.fit.objective,
            f"{plan.fit.n_features:,}",
            f"{plan.fit.k}",
            f"{plan.fit.n_rows:,}",
            Text(entries.get(plan.name, "-")),
        )
    demand(said.corpus)
    sizes = [file.size_bytes for file in look(said.corpus)]
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    console.print(table)
    console.print(
        f"{trainer.lm.name} on {said.device}; {len(sizes)} file(s) of RNAs, "
        f"{sum(sizes):,} bytes; to {trainer.registry}",
        highlight=False,
    )


@app.command()
def init() -> None:
    """Print an example of CONFIG.toml, every key with its default."""
    example = files("ribolex.trainer.process").joinpath("example.toml")
    typer.echo(example.read_text(encoding="utf-8"), nl=False)


@app.command()
def request(
    name: Annotated[str, typer.Argument(help="A dictionary's name.")],
    registry: Annotated[
        str,
        typer.Option(
            metavar="FOLDER|URL",
            help="The registry that the trainer publishes to.",
            envvar="RIBOLEX_REGISTRY",
        ),
    ],
) -> None:
    """Ask for a new version; a trainer that watches takes it up.

    It trains on what its corpus is by then, however little that grew; if nothing
    changed, there is nothing to do. The request waits until such a trainer runs.
    """
    from ribolex.registry import open_requests

    found = open_requests(registry).ask(name)
    typer.echo(f"asked for {found.name}: request {found.id}")


@app.command()
def status(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml|WORKDIR")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a trainer does, and which stages are done."""
    from ribolex.trainer.process import read_config
    from ribolex.trainer.process.status import read_status

    workdir = config if config.is_dir() else read_config(config).workdir
    found = read_status(workdir)
    if as_json:
        typer.echo(found.to_json())
        return
    typer.echo(found.sentence())
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("dictionary")
    table.add_column("done")
    table.add_column("came to")
    for each in found.dictionaries:
        table.add_row(Text(each.name), Text(" ".join(each.done)), Text(each.outcome))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def run_config(
    config: "TrainerConfig",
    log_format: LogFormat,
    *,
    is_watch: bool = False,
    with_tables: bool = False,
) -> int:
    """Makes what a configuration says and returns the exit code."""
    import torch

    from ribolex.errors import RibolexError
    from ribolex.lm import sensible_threads
    from ribolex.trainer.process import Trainer, exit_code, watch
    from ribolex.trainer.process.run import alone_in, describe_error
    from ribolex.trainer.ranks import joined_ranks, rank
    from ribolex.trainer.stopping import Stop, Stopped

    torch.set_num_threads(config.threads or sensible_threads())
    with ExitStack() as stack:
        device = stack.enter_context(joined_ranks(config.device))
        stack.enter_context(alone_in(config.workdir))
        reporter = stack.enter_context(_reporting(config, log_format, rank() == 0))
        stop = Stop(at_once=rank() == 0)
        try:
            with stop.listening():
                trainer = Trainer(config, device, reporter, stop)
                if is_watch:
                    watch(trainer)
                results = trainer.run()
        except Stopped:
            reporter.tell("stopped")
            return 0
        except (RibolexError, OSError) as error:
            reporter.tell("failed", error=describe_error(error))
            return 1
    if with_tables:
        _show(results)
    return exit_code(results)


@contextmanager
def _reporting(
    config: "TrainerConfig", log_format: LogFormat, is_first: bool
) -> Iterator["Reporter"]:
    """Gives who is told everything; on the first rank, others tell nobody."""
    from ribolex.trainer.process import Reporter
    from ribolex.trainer.process.listeners import (
        Bars,
        JsonLines,
        LogEvents,
        StateFile,
    )
    from ribolex.trainer.process.metrics import Metrics, serving

    if not is_first:
        yield Reporter([])
        return
    is_json = log_format == "json"
    if log_format == "auto":
        is_json = not sys.stderr.isatty()
    names = [each.name for each in config.dictionaries()]
    metrics = Metrics(names, config.workdir)
    bars = Bars(Console(stderr=True))
    shown = JsonLines(typer.echo) if is_json else bars
    reporter = Reporter([shown, StateFile(config.workdir), metrics])
    handler = LogEvents(reporter)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with ExitStack() as stack:
            if config.metrics is not None:
                host, port = config.metrics.host, config.metrics.port
                place = stack.enter_context(serving(metrics, host, port))
                reporter.tell("serving", url=place.url)
            yield reporter
    finally:
        root.removeHandler(handler)
        bars.close()


def _show(results: Sequence["Outcome | Failure"]) -> None:
    from ribolex.dictionary import read_manifest
    from ribolex.dictionary.artefact import EVALUATION_FILE
    from ribolex.trainer.commands.tables import tabulate
    from ribolex.trainer.evaluation import read_evaluation
    from ribolex.trainer.pipeline import Outcome

    console = Console()
    for each in results:
        if isinstance(each, Outcome):
            gates = read_manifest(each.candidate).identity.gates
            found = read_evaluation(each.candidate / EVALUATION_FILE)
            for table in tabulate(found, gates):
                console.print(table)


def main() -> None:
    """Runs the command line; a failure is one line and exit code 1."""
    from ribolex.errors import RibolexError

    try:
        app()
    except (RibolexError, OSError) as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    typer.echo(f"ribolex: {' '.join(message.split())}", err=True)
    raise SystemExit(1)

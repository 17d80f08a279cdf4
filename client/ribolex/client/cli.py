"""The `ribolex` command: what the client can do, from a shell.

Results go to standard output, progress and errors to standard error; a failure is
one line and exit code 1. Other packages add their commands through the entry-point
group `ribolex.commands`.
"""

import os
import sys
from importlib.metadata import entry_points
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from ribolex.client import output, records
from ribolex.client.client import Client
from ribolex.client.commands import options, versions
from ribolex.client.commands.batches import count, report
from ribolex.client.commands.encoding import embed, encode
from ribolex.client.commands.server import Server, with_server
from ribolex.client.errors import (
    CollectionNotFoundError,
    InvalidRequestError,
    RibolexError,
)
from ribolex.client.fasta import FastaRecord, read_fasta
from ribolex.client.progress import progress
from ribolex.client.tables import read_rnas

_WIDE = 240

app = typer.Typer(
    name="ribolex",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A feature dictionary for RNA: codes of RNAs, and similar RNAs with reasons.",
)
dictionaries = typer.Typer(rich_markup_mode=None)
app.add_typer(dictionaries, name="dictionaries")
versions.register(dictionaries)
app.command()(encode)
app.command()(embed)


@app.command()
@with_server
def add(
    server: Server,
    collection: Annotated[
        str, typer.Argument(metavar="COLLECTION", help="Made if it is not there.")
    ],
    rnas: Annotated[
        Path,
        typer.Argument(
            metavar="RNAS",
            help="FASTA, or a tab-separated table with columns name, sequence and "
            'labels; gzipped or not; "-": stdin.',
        ),
    ],
    dictionary: options.DictionaryName = None,
    pooling: Annotated[
        options.Pooling | None,
        typer.Option(help="For a new collection: how codes are pooled."),
    ] = None,
    degap: options.Degap = False,
    skip_rejected: options.SkipRejected = False,
    batch: options.Batch = 512,
    timeout: options.Timeout = 300.0,
) -> None:
    """Store RNAs in a collection.

    An RNA whose name is in the collection already is replaced; two of one name in
    the file are an error. Each batch is on the server's disk before the next is sent.
    """
    total = count(read_rnas(rnas)) if rnas.is_file() else None
    with server.connect(timeout) as client:
        _ensure_collection(client, collection, dictionary, pooling)
        with progress(f"adding to {collection}", total) as advance:
            done = client.upsert(
                collection,
                read_rnas(rnas),
                degap=degap,
                batch=batch,
                on_progress=advance,
            )
        n_rnas = client.get_collection(collection).n_rnas
    typer.echo(
        f"{collection}: {done.n_inserted} added, {done.n_updated} replaced, "
        f"{done.n_rejected} refused; {n_rnas} RNAs in all"
    )
    report(done.rejections, skip_rejected)


@app.command()
@with_server
def search(
    server: Server,
    collection: Annotated[
        str, typer.Argument(metavar="COLLECTION", help="Where to search.")
    ],
    fasta: Annotated[
        Path | None,
        typer.Argument(metavar="FASTA", help='Queries, gzipped or not; "-": stdin.'),
    ] = None,
    rna: Annotated[
        str | None, typer.Option(help="Query with this RNA of the collection.")
    ] = None,
    sequence: Annotated[
        str | None, typer.Option(help="Query with these letters.")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, max=1000, help="Most hits.")] = 10,
    features: Annotated[
        int, typer.Option(min=0, max=1000, help="Most shared features to show a hit.")
    ] = 3,
    degap: options.Degap = False,
    as_json: options.AsJson = False,
    timeout: options.Timeout = 60.0,
) -> None:
    """Find similar RNAs and say why.

    Below each hit: what a feature adds to the score, and the nucleotides in which it
    fires in the query | in the hit, counted from 1.
    """
    if sum(query is not None for query in (fasta, rna, sequence)) != 1:
        raise typer.BadParameter("give one of FASTA, --rna and --sequence")
    console = _console()
    queries = (
        read_fasta(fasta) if fasta else [FastaRecord(rna or "", sequence or "", 0)]
    )
    with server.connect(timeout) as client:
        for query in queries:
            try:
                hits = client.search(
                    collection,
                    rna=rna,
                    sequence=None if rna else query.sequence,
                    top_k=top_k,
                    max_shared_features=features,
                    degap=degap,
                )
            except InvalidRequestError as error:
                where = f"{query.name}: " if fasta else ""
                raise InvalidRequestError(f"{where}{error.message}") from error
            name = query.name or "the sequence"
            if as_json:
                typer.echo(output.hits_to_json(name, collection, hits))
            else:
                output.print_query(console, name, hits)
                output.print_hits(console, hits)


@app.command()
@with_server
def feature(
    server: Server,
    feature_id: Annotated[int, typer.Argument(metavar="ID", min=0, help="Its number.")],
    dictionary: options.DictionaryName = None,
    collection: Annotated[
        str | None, typer.Option(help="Take the examples from this collection.")
    ] = None,
    examples: Annotated[
        int, typer.Option(min=0, max=100, help="Most RNAs to show it in.")
    ] = 3,
    as_json: options.AsJson = False,
    timeout: options.Timeout = 60.0,
) -> None:
    """Show what is known about a feature, and where it fires."""
    with server.connect(timeout) as client:
        card = client.feature(
            feature_id,
            dictionary=dictionary,
            collection=collection,
            max_examples=examples,
        )
    if as_json:
        typer.echo(output.to_json(card))
    else:
        output.print_card(_console(), card)


@dictionaries.callback(invoke_without_command=True)
@with_server
def list_dictionaries(context: typer.Context, server: Server) -> None:
    """List a server's dictionaries, or change which are used.

    Without a command: what a running server has, * its default. With --registry a
    command works on the registry itself, and needs no server.
    """
    if context.invoked_subcommand:
        return
    with server.connect() as client:
        output.print_dictionaries(_console(), client.dictionaries())


@app.command()
@with_server
def collections(server: Server) -> None:
    """List the server's collections."""
    with server.connect() as client:
        output.print_collections(_console(), client.list_collections())


@app.command()
def demo() -> None:
    """Show all of it on real RNAs, with a server of its own."""
    from ribolex.client.demo import run_demo

    run_demo(Console())


def main() -> None:
    """Runs the command line; a failure is one line and exit code 1."""
    _register_others()
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal that lacks a sign shows "?" instead of failing the command.
        sys.stdout.reconfigure(errors="replace")
    try:
        app()
    except (RibolexError, OSError) as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        _fail(f"{error}; it comes with ribolex[server] or ribolex[trainer]")
    except Exception as error:
        # A command of the server or the trainer may have loaded the core's errors,
        # which the client itself does without.
        core = sys.modules.get("ribolex.errors")
        if core is None or not isinstance(error, core.RibolexError):
            raise
        _fail(str(error))


def _register_others() -> None:
    """Adds the commands of the other packages whose extras are installed."""
    for entry in sorted(entry_points(group="ribolex.commands"), key=lambda e: e.name):
        try:
            register = entry.load()
        except ModuleNotFoundError:
            continue
        register(app)


def _console() -> Console:
    """Returns standard output: as wide as the terminal, or wide where it is none."""
    is_fixed = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if is_fixed else _WIDE)


def _fail(message: str) -> NoReturn:
    typer.echo(f"ribolex: {' '.join(message.split())}", err=True)
    raise SystemExit(1)


def _ensure_collection(
    client: Client, name: str, dictionary: str | None, pooling: options.Pooling | None
) -> None:
    """Makes a collection if it is not there; refuses one made otherwise."""
    pooling_name: records.Pooling | None = pooling.value if pooling else None
    try:
        found = client.get_collection(name)
    except CollectionNotFoundError:
        client.create_collection(name, dictionary=dictionary, pooling=pooling_name)
        return
    if pooling_name not in (None, found.pooling):
        raise InvalidRequestError(
            f"collection {name!r} is pooled by {found.pooling}, not {pooling_name}"
        )
    if dictionary not in (None, found.dictionary.name, str(found.dictionary)):
        raise InvalidRequestError(
            f"collection {name!r} is indexed under {found.dictionary}, not {dictionary}"
        )

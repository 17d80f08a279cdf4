"""The commands `add`, `search` and `align`: RNAs stored, found and compared."""

import itertools
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console

from ribolex.client import output, records
from ribolex.client.archive import replacing
from ribolex.client.client import Client
from ribolex.client.commands import options
from ribolex.client.commands.batches import count, noted, report, report_batch
from ribolex.client.commands.local import Place, with_place
from ribolex.client.errors import (
    CollectionNotFoundError,
    CorruptInputError,
    InvalidRequestError,
)
from ribolex.client.fasta import read_fasta
from ribolex.client.hits import Hits, Sensitivity
from ribolex.client.hits_tsv import write_header, write_hits
from ribolex.client.hits_view import (
    print_alignment,
    print_hits,
    print_query,
    print_shared_features,
    print_summary,
)
from ribolex.client.lines import STDIN
from ribolex.client.progress import progress
from ribolex.client.tables import read_rnas
from ribolex.client.where import parse_condition

_WIDE = 240
_GAPS = "-."


def console() -> Console:
    """Returns standard output: as wide as the terminal, or wide where it is none."""
    is_fixed = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if is_fixed else _WIDE)


@with_place
def add(
    place: Place,
    rnas: Annotated[
        Path,
        typer.Argument(
            metavar="FASTA",
            help="RNAs: FASTA, or a tab-separated table with columns name, sequence "
            'and labels; gzipped or not; "-": stdin.',
        ),
    ],
    collection: options.Collection,
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
    """Store RNAs in a collection; make it if it is not there.

    An RNA whose name is in the collection already is replaced; two of one name in
    the file are an error. Each batch is on disk before the next is sent.
    """
    total = count(read_rnas(rnas)) if rnas.is_file() else None
    with place.connect(timeout) as client:
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
        f"{collection}: {done.n_inserted:,} added, {done.n_updated:,} replaced, "
        f"{done.n_rejected:,} refused; {n_rnas:,} RNAs in all"
    )
    report(done.rejections, skip_rejected)


@with_place
def search(
    place: Place,
    collection: options.Collection,
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
    sensitivity: Annotated[
        options.Sensitivity | None,
        typer.Option(
            help="fast: same kind of RNA; sensitive: relatives, aligned; exhaustive: "
            "every RNA aligned. Without it: sensitive where the dictionary can align."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="Most hits a query.")] = 10,
    max_e_value: Annotated[
        float | None,
        typer.Option(
            "--max-e-value", help="Leave out hits that chance makes more often."
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Search only RNAs with such metadata: type=tRNA, type=tRNA|rRNA, "
            "organism!=..., length>=50; may be given several times.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help='Write a tab-separated table; "-": to stdout.'
        ),
    ] = None,
    features: Annotated[
        int, typer.Option(min=0, max=1000, help="Most features to show a hit.")
    ] = 3,
    alignments: Annotated[
        bool, typer.Option("--alignments", help="Draw each alignment, too.")
    ] = False,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="With fast: compare every RNA, not candidates."),
    ] = False,
    degap: options.Degap = False,
    skip_rejected: options.SkipRejected = False,
    as_json: options.AsJson = False,
    timeout: options.Timeout = 300.0,
) -> None:
    """Find similar RNAs and say why.

    Below each hit: what a feature adds to the score, and the nucleotides in which it
    fires in the query | in the hit, counted from 1. With -o a line a hit: query,
    target, score, evalue, identity (percent), first and last nucleotide in both.
    """
    if sum(query is not None for query in (fasta, rna, sequence)) != 1:
        raise typer.BadParameter("give one of FASTA, --rna and --sequence")
    if out is not None and as_json:
        raise typer.BadParameter("give one of --output and --json")
    conditions = [parse_condition(one) for one in where or ()]
    chosen: Sensitivity | None = sensitivity.value if sensitivity else None
    total = count(read_fasta(fasta)) if fasta and fasta.is_file() else None
    asked: dict[str, Any] = {
        "top_k": top, "max_shared_features": 0 if out else features, "degap": degap,
        "sensitivity": chosen, "max_e_value": max_e_value, "where": conditions,
        "exact": exact,
    }  # fmt: skip
    with ExitStack() as stack:
        told = open_output(stack, out)
        client = stack.enter_context(place.connect(timeout, collection))
        answers: Iterable[tuple[records.Rna, Hits]]
        if fasta is not None:
            answers = _search_all(client, collection, fasta, asked, skip_rejected)
        else:
            hits = client.search(collection, rna=rna, sequence=sequence, **asked)
            answers = [(_only_query(client, collection, rna, sequence), hits)]
        if told is not None:
            shown = stack.enter_context(progress("searching", total))
            write_header(told)
            for query, hits in answers:
                write_hits(told, query.name, hits)
                shown(1)
            return
        for i, (query, hits) in enumerate(answers):
            if as_json:
                typer.echo(output.hits_to_json(query.name, collection, hits))
                continue
            if i:
                typer.echo()
            _print_answer(query, hits, alignments, degap)


def open_output(stack: ExitStack, out: Path | None) -> TextIO | None:
    """Returns where the table is to be written; None if none is wanted."""
    if out is None:
        return None
    if out == STDIN:
        return sys.stdout
    staged = stack.enter_context(replacing(out))
    text = TextIOWrapper(staged, encoding="utf-8", newline="\n", write_through=True)
    stack.callback(text.detach)
    return text


def _search_all(
    client: Client,
    collection: str,
    fasta: Path,
    asked: dict[str, Any],
    skip_rejected: bool,
) -> Iterator[tuple[records.Rna, Hits]]:
    """Yields each query of a file with its hits, refused ones left out."""
    names: deque[str] = deque()
    sequences: deque[str] = deque()

    def drawn() -> Iterator[str]:
        for one in noted(read_fasta(fasta), names):
            sequences.append(one)
            yield one

    found = client.search_stream(collection, drawn(), on_rejection="skip", **asked)
    for hits in found:
        query = records.Rna(names.popleft(), sequences.popleft())
        if hits.rejection is None:
            yield query, hits
        else:
            refused = records.Rejection(0, "", hits.rejection.message)
            report_batch([refused], [query.name], skip_rejected)


def _only_query(
    client: Client, collection: str, rna: str | None, sequence: str | None
) -> records.Rna:
    if rna is not None:
        return client.get_rna(collection, rna).rna
    return records.Rna("the sequence", sequence or "")


def _print_answer(
    query: records.Rna, hits: Hits, with_alignments: bool, degap: bool
) -> None:
    screen = console()
    read = records.Rna(query.name, _as_read(query.sequence, degap))
    print_query(screen, read, hits)
    if not (with_alignments and hits):
        print_hits(screen, hits)
        return
    for hit in hits:
        print_summary(screen, read, hit)
        print_alignment(screen, read, hit)
        print_shared_features(screen, hit)
        screen.print()


def _as_read(sequence: str, degap: bool) -> str:
    """Returns letters as the server reads them."""
    kept = (letter for letter in sequence if not (degap and letter in _GAPS))
    return "".join(kept).upper().replace("T", "U")


@with_place
def align(
    place: Place,
    query: Annotated[
        str, typer.Argument(metavar="A", help="A FASTA file of one RNA, or letters.")
    ],
    target: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    collection: Annotated[
        str | None,
        typer.Option(help="A and B that are no files are names of its RNAs."),
    ] = None,
    dictionary: options.DictionaryName = None,
    features: Annotated[
        int, typer.Option(min=0, max=1000, help="Most features to show.")
    ] = 5,
    degap: options.Degap = False,
    as_json: options.AsJson = False,
    timeout: options.Timeout = 60.0,
) -> None:
    """Align two RNAs and say why they align.

    A feature's line marks the nucleotides in which it fires: in both RNAs (full), in
    the upper one (upper half) or in the lower one (lower half).
    """
    sides = [
        one_rna(text, name, collection) for text, name in ((query, "A"), (target, "B"))
    ]
    letters = [None if side.sequence == "" else side.sequence for side in sides]
    stored = [side.name if side.sequence == "" else None for side in sides]
    with place.connect(timeout, collection or "") as client:
        found = client.align(
            *letters,
            query_rna=stored[0],
            target_rna=stored[1],
            collection=collection or "",
            dictionary=dictionary,
            max_shared_features=features,
            degap=degap,
        )
    if as_json:
        typer.echo(output.to_json(found))
        return
    upper = replace(found.query, name=sides[0].name)
    hit = replace(found.hit, rna=replace(found.hit.rna, name=sides[1].name))
    screen = console()
    print_summary(screen, upper, hit)
    print_alignment(screen, upper, hit)
    if hit.alignment is not None:
        print_shared_features(screen, hit)


def one_rna(text: str, name: str, collection: str | None = None) -> records.Rna:
    """Returns the RNA that an argument stands for; one that is stored has no letters.

    Raises:
        CorruptInputError: the file has not one RNA.
        InvalidRequestError: it is no file, and cannot be letters.
    """
    path = Path(text)
    if path == STDIN or path.is_file():
        found = list(itertools.islice(read_fasta(path), 2))
        if len(found) > 1:
            raise CorruptInputError(text, "has several RNAs, expected one")
        return records.Rna(found[0].name, found[0].sequence)
    if collection is not None:
        return records.Rna(text, "")
    if not all(letter.isalpha() or letter in _GAPS for letter in text) or not text:
        raise InvalidRequestError(f"{name}: {text!r} is neither a file nor a sequence")
    return records.Rna(name, text)


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

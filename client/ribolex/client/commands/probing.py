"""The commands `ribolex probe fit | apply`: labels read off codes."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
import typer
from rich.text import Text

from ribolex.client import output, records
from ribolex.client.child import running_server
from ribolex.client.client import Client
from ribolex.client.codes import SparseCodes
from ribolex.client.commands import options
from ribolex.client.commands.batches import count, report_batch
from ribolex.client.commands.searching import console
from ribolex.client.commands.server import Server, with_server
from ribolex.client.errors import InvalidRequestError
from ribolex.client.fasta import read_fasta
from ribolex.client.probe import (
    Design,
    Probe,
    Reading,
    Validation,
    Weight,
    count_words,
    fit,
    validate,
)
from ribolex.client.probe.fitting import Matrix
from ribolex.client.probe.probe import to_dense
from ribolex.client.progress import progress
from ribolex.client.tables import read_rnas

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

_RELATIVES = "clan", "family_acc", "family"
_START_TIMEOUT_S = 3600.0


class _Labelled(NamedTuple):
    """RNAs with labels, as numbers."""

    rnas: list[records.Rna]
    names: list[str]
    """Of labels."""
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    grouped_by: str
    """Column of the groups; empty: every RNA is one."""


@app.command(name="fit")
@with_server
def fit_(
    server: Server,
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE", help="Tab-separated: name, sequence and the label."
        ),
    ],
    out: Annotated[Path, typer.Option("--output", "-o", help="File to write, JSON.")],
    label: Annotated[
        str, typer.Option(help="Column to read off; RNAs without it are left out.")
    ] = "label",
    group: Annotated[
        str | None,
        typer.Option(
            help="Column whose RNAs stay together in the cross-validation; without it "
            "the first of clan, family_acc and family that the table has and every "
            'label has twice; "": none.'
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Features a label.")] = 16,
    penalty: Annotated[
        float, typer.Option(min=1e-6, help="Of large weights, squared.")
    ] = 0.01,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 5,
    deals: Annotated[
        int, typer.Option(min=0, help="Times that labels are dealt out by chance.")
    ] = 20,
    seed: Annotated[int, typer.Option(help="Of folds and deals.")] = 0,
    dictionary: options.DictionaryName = None,
    pooling: Annotated[
        options.Pooling, typer.Option(help="How nucleotides make the code of an RNA.")
    ] = options.Pooling.MAX,
    batch: options.Batch = 256,
    local: options.Local = False,
    model: options.Model = "bundled",
    registry: options.Registry = None,
    device: options.Device = "cpu",
    timeout: options.Timeout = 300.0,
) -> None:
    """Learn to read a label off RNAs with a few features.

    Prints how well RNAs that were left out are told, relatives kept together; the
    same with labels dealt out by chance, and with counts of 4-letter words instead of
    features; and the features that each label is read off.
    """
    design = Design(k, penalty)
    given = _read(table, label, group)
    with _connected(server, timeout, local, model, registry, device) as client:
        ref, x = _encode(client, given.rnas, dictionary, pooling.value, batch)
        readings = _fit(client, ref, x, given, design)
    words = count_words([rna.sequence for rna in given.rnas])
    validation = validate(
        x, words, given.labels, given.groups, design,
        n_folds=folds, n_deals=deals, seed=seed,
    )  # fmt: skip
    facts = {
        "RNAs": len(given.rnas),
        "RNAs by label": dict(Counter(given.names[i] for i in given.labels)),
        "kept together by": given.grouped_by,
        "k": k,
        "penalty": penalty,
        "validation": validation.told(),
    }
    Probe(ref, x.shape[1], pooling.value, readings, facts).write(out)
    _print_validation(validation, given, k)
    _print_readings(readings)


@app.command()
@with_server
def apply(
    server: Server,
    probe: Annotated[
        Path, typer.Argument(metavar="PROBE", help="As probe fit wrote it.")
    ],
    fasta: options.Fasta,
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the table there, not to stdout."),
    ] = None,
    degap: options.Degap = False,
    skip_rejected: options.SkipRejected = False,
    batch: options.Batch = 256,
    local: options.Local = False,
    model: options.Model = "bundled",
    registry: options.Registry = None,
    device: options.Device = "cpu",
    timeout: options.Timeout = 300.0,
) -> None:
    """Read labels off RNAs, by a probe that was fitted before.

    Writes a tab-separated table: name, the likeliest label, the probability of each
    label against all others, and fvu: near 1 the dictionary does not know such RNAs.
    The codes come from the dictionary version that the probe was fitted to.
    """
    known = Probe.read(probe)
    total = count(read_fasta(fasta)) if fasta.is_file() else None
    names = list[str]()

    def sequences() -> Iterator[str]:
        for record in read_fasta(fasta):
            names.append(record.name)
            yield record.sequence

    labels = [reading.label for reading in known.readings]
    lines = ["\t".join(["name", "label", *labels, "fvu"])]
    done = 0
    with (
        _connected(server, timeout, local, model, registry, device) as client,
        progress("reading", total) as advance,
    ):
        for part in client.encode_stream(
            sequences(), dictionary=known.dictionary, pooling=known.pooling,
            degap=degap, on_rejection="skip", batch=batch,
        ):  # fmt: skip
            report_batch(part.rejections, names[done:], skip_rejected)
            refused = {one.index for one in part.rejections}
            for i, answer in enumerate(known.apply(_codes(part))):
                if i not in refused:
                    cells = [f"{answer.probabilities[name]:.3f}" for name in labels]
                    told = [names[done + i], answer.label, *cells, f"{part.fvu[i]:.3f}"]
                    lines.append("\t".join(told))
            done += len(part)
            advance(len(part))
    text = "\n".join(lines)
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text + "\n", encoding="utf-8")


def _read(table: Path, label: str, group: str | None) -> _Labelled:
    """Returns the RNAs of a table that have a label, with their groups.

    Raises:
        CorruptInputError: it is no table of RNAs.
        InvalidRequestError: fewer than two labels, or one without two groups.
    """
    rnas = [rna for rna in read_rnas(table) if rna.metadata.get(label)]
    names = sorted({rna.metadata[label] for rna in rnas})
    if len(names) < 2:
        message = f"{len(names)} labels in column {label!r}, expected two or more"
        raise InvalidRequestError(f"{table}: {message}")
    labels = np.array([names.index(rna.metadata[label]) for rna in rnas])
    wanted = [group] if group else []
    if group is None:
        known = {name for rna in rnas for name, value in rna.metadata.items() if value}
        wanted = [name for name in _RELATIVES if name in known - {label}]
    for column in wanted:
        groups = _group(rnas, column)
        if all(len(np.unique(groups[labels == i])) > 1 for i in range(len(names))):
            return _Labelled(rnas, names, labels, groups, column)
    if group:
        message = f"a label has less than two of column {group!r}, expected two"
        raise InvalidRequestError(f"{table}: {message}")
    rarest = int(np.bincount(labels).argmin())
    if (labels == rarest).sum() < 2:
        message = f"one RNA with {names[rarest]!r}, expected two or more of each label"
        raise InvalidRequestError(f"{table}: {message}")
    return _Labelled(rnas, names, labels, np.arange(len(rnas)), "")


def _group(rnas: Sequence[records.Rna], column: str) -> npt.NDArray[np.int64]:
    """Returns the group of each RNA; one without is a group of its own."""
    # A clan may be missing where a family is not.
    fallback = _RELATIVES[_RELATIVES.index(column) :] if column in _RELATIVES else ()
    keys = []
    for rna in rnas:
        found = [rna.metadata.get(name) for name in (column, *fallback)]
        known = next((name for name in found if name), None)
        keys.append(f"name:{rna.name}" if known is None else known)
    if all(key.startswith("name:") for key in keys):
        return np.zeros(len(keys), np.int64)  # no such column
    out: npt.NDArray[np.int64] = np.unique(keys, return_inverse=True)[1]
    return out


@contextmanager
def _connected(
    server: Server,
    timeout: float,
    local: bool,
    model: str,
    registry: str | None,
    device: str,
) -> Iterator[Client]:
    """Gives a client of a server; with --local of one that is started for this."""
    if not local:
        with server.connect(timeout) as client:
            yield client
        return
    serving = ["--model", model, "--device", device]
    if registry is not None:
        serving += ["--registry", registry]
    with (
        tempfile.TemporaryDirectory(prefix="ribolex-") as folder,
        running_server(Path(folder), None, serving) as address,
        Client(address, timeout_s=max(timeout, _START_TIMEOUT_S)) as client,
    ):
        yield client


def _encode(
    client: Client,
    rnas: Sequence[records.Rna],
    dictionary: str | None,
    pooling: records.Pooling,
    batch: int,
) -> tuple[records.DictionaryRef, Matrix]:
    """Returns the codes of RNAs, damped, and the dictionary version they are of."""
    parts, done = list[records.Encoded](), 0
    sequences = [rna.sequence for rna in rnas]
    with progress("encoding", len(rnas)) as advance:
        for part in client.encode_stream(
            sequences, pooling=pooling, dictionary=dictionary, on_rejection="skip",
            batch=batch,
        ):  # fmt: skip
            names = [rna.name for rna in rnas[done : done + len(part)]]
            report_batch(part.rejections, names, False)
            parts.append(part)
            done += len(part)
            advance(len(part))
    return parts[0].dictionary, to_dense([_codes(part) for part in parts])


def _fit(
    client: Client,
    dictionary: records.DictionaryRef,
    x: Matrix,
    given: _Labelled,
    design: Design,
) -> tuple[Reading, ...]:
    """Returns a reading of every label, its features with what they stand for."""
    fits = [fit(x, given.labels == i, design) for i in range(len(given.names))]
    said: dict[int, str] = {}
    for feature in {feature for one in fits for feature in one.features.tolist()}:
        card = client.feature(
            feature, dictionary=dictionary, max_examples=0, max_nearest=0
        )
        said[feature] = card.feature.label
    return tuple(
        Reading(
            name,
            one.intercept,
            tuple(
                Weight(feature, weight, said[feature])
                for feature, weight in zip(
                    one.features.tolist(), one.weights.tolist(), strict=True
                )
            ),
        )
        for name, one in zip(given.names, fits, strict=True)
    )


def _codes(part: records.Encoded) -> SparseCodes:
    if part.sequence_codes is None:  # asked for, so that it is there
        raise InvalidRequestError("the server gave no codes of sequences")
    return part.sequence_codes


def _print_validation(found: Validation, given: _Labelled, k: int) -> None:
    kept = f", RNAs of one {given.grouped_by} together" if given.grouped_by else ""
    told = f"{len(given.rnas)} RNAs, {len(given.names)} labels"
    typer.echo(f"{told}; {found.n_folds} folds{kept}")
    table = output.columns("RNAs left out", ">balanced accuracy", ">AUROC")
    rows = [
        (f"{k} features a label", found.codes),
        (f"{k} counts of 4-letter words a label", found.words),
        ("all counts of 4-letter words", found.all_words),
    ]
    if found.n_deals:
        rows.append((f"labels dealt by chance, {found.n_deals} times", found.dealt))
    for name, score in rows:
        table.add_row(name, f"{score.balanced_accuracy:.3f}", f"{score.auroc:.3f}")
    console().print(table)
    if found.n_deals:
        typer.echo(f"p = {found.p_value:.2g} against labels dealt by chance")
    if not given.grouped_by:
        typer.echo(
            "no column tells relatives: they may be on both sides, and scores too high"
        )


def _print_readings(readings: Sequence[Reading]) -> None:
    table = output.columns("label", ">weight", "feature", "which")
    for reading in readings:
        strongest = sorted(reading.weights, key=lambda one: -abs(one.weight))
        for i, one in enumerate(strongest):
            name = Text(reading.label if i == 0 else "")
            feature = Text(f"f{one.feature}", "cyan")
            table.add_row(name, f"{one.weight:+.2f}", feature, Text(one.label))
    console().print(table)

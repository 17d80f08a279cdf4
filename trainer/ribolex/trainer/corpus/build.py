"""From files of RNAs to a corpus: gathered, split, searched across parts, written.

Knows nothing of the command line or of how progress is shown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ribolex.errors import CorruptInputError, InvalidRequestError
from ribolex.rna import (
    AlignmentRow,
    Rna,
    read_labels,
    write_alignment_rows,
    write_rnas,
)
from ribolex.trainer.corpus.choice import family_of
from ribolex.trainer.corpus.folder import Corpus, check_free, describe, write_folder
from ribolex.trainer.corpus.gather import CorpusOptions, Gathered, Gathering
from ribolex.trainer.corpus.manifest import (
    FORMAT_VERSION,
    CorpusManifest,
    FileRecord,
    PartRecord,
    Tallies,
)
from ribolex.trainer.corpus.mmseqs import find_alike, find_program
from ribolex.trainer.corpus.sources import read_source
from ribolex.trainer.corpus.split import PARTS, Part, group_of, part_of

Tell = Callable[[str, int], None]
"""Is told the stage, and how many RNAs it has done."""


def build_corpus(
    inputs: Sequence[Path],
    out: Path,
    options: CorpusOptions,
    tell: Tell,
    *,
    labels: Path | None = None,
    force: bool = False,
) -> Corpus:
    """Writes a corpus and returns it.

    The same inputs in any order give the same bytes, and so do their RNAs in any
    order but for examples in the report.

    Args:
        inputs: FASTA, Stockholm or tables.
        out: the folder to be.
        options: what to leave out and how to split.
        tell: is told how far it is.
        labels: table of labels by name, for RNAs of FASTA.
        force: replace a corpus that is at `out`.

    Raises:
        CorruptInputError, InvalidSequenceError: names the file, the line and the RNA.
        InvalidRequestError: no RNA is left; something is at `out`; a search is asked
            for without MMseqs2.
    """
    if options.identity is not None:
        find_program()
    check_free(out, force)
    # Their order by content decides which examples are told, and nothing else.
    files = sorted((_describe(path), path) for path in inputs)
    gathering = Gathering(options)
    gathered = _gather(gathering, [path for _, path in files], labels, tell)
    parts = _split(gathered.rnas, options)
    if options.identity is not None:
        tell("search", 0)
        _drop_alike(parts, options.identity, gathering.dropped)
    aligned = _aligned(gathered, parts, options)

    def fill(folder: Path) -> CorpusManifest:
        tell("write", 0)
        return CorpusManifest(
            format_version=FORMAT_VERSION,
            inputs=tuple(record for record, _ in files),
            labels=None if labels is None else _describe(labels),
            options=_flat(options),
            n_read=gathering.n_read,
            parts={p: _write(folder, p, parts[p], aligned[p]) for p in PARTS},
            dropped=gathering.dropped.freeze(),
            noted=gathering.noted.freeze(),
        )

    return Corpus(out, write_folder(out, fill, force))


def _describe(path: Path) -> FileRecord:
    try:
        return describe(path)
    except OSError as error:
        raise CorruptInputError(path, f"cannot be read: {error.strerror}") from error


def _gather(
    gathering: Gathering, files: Sequence[Path], labels: Path | None, tell: Tell
) -> Gathered:
    by_name = {} if labels is None else read_labels(labels)
    for path in files:
        for piece in read_source(
            path,
            degap=gathering.options.degap,
            refuse=gathering.refuse,
            labels=by_name,
        ):
            gathering.take(piece.rnas, str(path), lambda n: tell("read", n))
            gathering.take_rows(piece.rows)
    gathered = gathering.finish()
    if not gathered.rnas:
        raise InvalidRequestError(
            "inputs", f"none of {gathering.n_read} RNAs is left: {gathering.reasons()}"
        )
    for name in sorted(set(by_name) - {rna.name for rna in gathered.rnas}):
        gathering.noted.add("label of no RNA that was kept", repr(name))
    return gathered


def _split(rnas: Sequence[Rna], options: CorpusOptions) -> dict[Part, list[Rna]]:
    """Returns the RNAs of each part, in the order of families, names and letters."""
    parts: dict[Part, list[Rna]] = {part: [] for part in PARTS}
    for rna in sorted(rnas, key=lambda r: (family_of(r), r.name, r.sequence)):
        group = group_of(rna.name, rna.metadata)
        parts[part_of(group, options.shares, options.salt)].append(rna)
    return parts


def _drop_alike(
    parts: dict[Part, list[Rna]], identity: float, dropped: Tallies
) -> None:
    """Takes out of the held-out parts what is like an RNA to train on."""
    targets = parts["train"]
    held_out: tuple[Part, ...] = ("validation", "test")
    queries = [rna for part in held_out for rna in parts[part]]
    alike = find_alike(queries, targets, identity)
    for place, match in sorted(alike.items()):
        rna, target = queries[place], targets[match.target]
        example = f"{rna.name!r} of {group_of(rna.name, rna.metadata)}, "
        example += f"{match.identity:.0%} like {target.name!r} "
        example += f"of {group_of(target.name, target.metadata)}"
        dropped.add("held out, but like a training RNA", example)
    gone = {queries[place].sequence for place in alike}
    for part in held_out:
        parts[part] = [rna for rna in parts[part] if rna.sequence not in gone]


def _aligned(
    gathered: Gathered, parts: Mapping[Part, Sequence[Rna]], options: CorpusOptions
) -> dict[Part, list[AlignmentRow]]:
    """Returns the rows of each part: families that hash to it, sequences kept in it.

    A sequence has one row in a family, that under the name of its RNA if there is one.
    """
    kept = {rna.sequence: (part, rna) for part in PARTS for rna in parts[part]}
    aligned: dict[Part, list[AlignmentRow]] = {part: [] for part in PARTS}
    for family, rows in sorted(gathered.alignments.items()):
        labels = {"family_acc": family, "clan": gathered.clans.get(family, "")}
        home = part_of(group_of("", labels), options.shares, options.salt)
        of_sequence: dict[str, AlignmentRow] = {}
        for row in sorted(rows):
            sequence = row.aligned.replace("-", "")
            part, rna = kept.get(sequence, (None, None))
            if part == home and rna is not None:
                of_sequence.setdefault(sequence, row)
                if row.name == rna.name:
                    of_sequence[sequence] = row
        aligned[home] += sorted(of_sequence.values())
    return aligned


def _write(
    folder: Path, part: Part, rnas: Sequence[Rna], rows: Sequence[AlignmentRow]
) -> PartRecord:
    table, aligned = folder / f"{part}.tsv.gz", folder / f"{part}.aligned.tsv.gz"
    write_rnas(table, rnas)
    if rows:
        write_alignment_rows(aligned, rows)
    records = describe(table), describe(aligned) if rows else None
    return PartRecord.of(rnas, *records, n_aligned=len(rows))


def _flat(options: CorpusOptions) -> dict[str, bool | int | float | str | None]:
    flat = asdict(options)
    shares = flat.pop("shares")
    return {**flat, "validation": shares["validation"], "test": shares["test"]}

"""Stockholm files: several alignments one after another, as Rfam ships its seeds.

Plain or gzipped, rows in one block or interleaved. An alignment's consensus
structure is projected on its members: a pair stays where both of its nucleotides
are there and can pair (AU, GC, GU). Pseudoknots are set aside, since dot-bracket
cannot say them. Knows nothing of corpora: which RNAs to keep is the caller's choice.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ribolex.errors import CorruptInputError
from ribolex.rna.alphabet import GAPS
from ribolex.rna.records import Rna
from ribolex.rna.text import Refuse, accept, open_text

_HEADER = "# STOCKHOLM 1.0"
_END = "//"
_OPENING = {"<": ">", "(": ")", "[": "]", "{": "}"}
_CLOSING = {closing: opening for opening, closing in _OPENING.items()}
_UNPAIRED = frozenset(".,:_-~")
_CANONICAL = frozenset({"AU", "UA", "GC", "CG", "GU", "UG"})


@dataclass(frozen=True, slots=True)
class Alignment:
    """One alignment: what its file says of it, its rows and its consensus structure."""

    where: str
    """The file and the line of its header: "Rfam.seed:1"."""
    labels: Mapping[str, str]
    """GF annotation by its two-letter tag; a repeated tag's lines joined by spaces."""
    rows: Mapping[str, str]
    """Aligned letters with their gaps by the members' names, all of one length."""
    consensus: str | None
    """SS_cons in WUSS notation, as long as the rows, or None if the file has none."""

    def rnas(self, refuse: Refuse | None = None) -> Iterator[Rna]:
        """Yields the members without their gaps, in the order of the rows.

        Metadata: family_acc (AC), family (ID), type (TP as "Gene;snRNA"), clan (CL),
        each only where the file has it. A structure without any pair is None.

        Args:
            refuse: is told of each member whose letters are none of RNA, which is
                then left out; if None, the first one is raised.

        Raises:
            InvalidSequenceError: a row holds no letter, or one that is none of RNA.
        """
        metadata = MappingProxyType(self._metadata())
        pairs = [] if self.consensus is None else _pairs(self.consensus, self.where)
        for name, aligned in self.rows.items():
            where = f"{self.where}, row {name!r}"
            sequence = accept(aligned, where, degap=True, refuse=refuse)
            if sequence is not None:
                structure = _project(pairs, aligned)
                known = structure if "(" in structure else None
                yield Rna(name, sequence, known, metadata)

    def _metadata(self) -> dict[str, str]:
        kinds = [word.strip() for word in self.labels.get("TP", "").split(";")]
        metadata = {
            "family_acc": self.labels.get("AC", ""),
            "family": self.labels.get("ID", ""),
            "type": ";".join(kind for kind in kinds if kind),
            "clan": self.labels.get("CL", ""),
        }
        # A tab in a label would be another column in a table.
        return {key: " ".join(text.split()) for key, text in metadata.items() if text}


def read_alignments(path: Path) -> Iterator[Alignment]:
    """Yields the alignments of a Stockholm file, one in memory at a time.

    GS, GR and GC lines other than SS_cons are passed over. Bytes that are not UTF-8
    are replaced where they are text, as in authors' names.

    Raises:
        CorruptInputError: names the file and the line.
    """
    draft: _Draft | None = None
    number = 0
    try:
        with open_text(path, "replace", None) as stream:
            for number, raw in enumerate(stream, start=1):
                line, where = raw.rstrip(), f"{path}:{number}"
                if draft is None:
                    draft = _begin(line, where)
                elif line == _END:
                    yield draft.finish(where)
                    draft = None
                elif line:
                    draft.take(line, where)
    except (OSError, EOFError, zlib.error) as error:
        raise CorruptInputError(
            f"{path}:{number + 1}", f"breaks off: {error}"
        ) from error
    if draft is not None:
        raise CorruptInputError(
            f"{path}:{number}", f"ends within the alignment that began at {draft.where}"
        )
    if not number:
        raise CorruptInputError(path, f"is empty, expected {_HEADER!r}")


@dataclass(slots=True)
class _Draft:
    """An alignment of which the end is not read yet."""

    where: str
    labels: dict[str, str] = field(default_factory=dict)
    rows: dict[str, list[str]] = field(default_factory=dict)
    consensus: list[str] = field(default_factory=list)

    def take(self, line: str, where: str) -> None:
        """Adds one line that is neither blank nor the end."""
        if line.startswith("#=GF"):
            _, tag, text = [*line.split(None, 2), "", ""][:3]
            self.labels[tag] = f"{self.labels.get(tag, '')} {text}".strip()
        elif line.startswith("#=GC"):
            words = line.split()
            if len(words) == 3 and words[1] == "SS_cons":
                self.consensus.append(words[2])
            elif len(words) != 3:
                raise CorruptInputError(
                    where, f"{len(words)} words, expected #=GC, a tag and its signs"
                )
        elif line.startswith(_HEADER):
            raise CorruptInputError(
                where, f"a new alignment before the {_END!r} of that at {self.where}"
            )
        elif not line.startswith("#"):
            words = line.split()
            if len(words) != 2:
                raise CorruptInputError(
                    where, f"{len(words)} words, expected a name and aligned letters"
                )
            self.rows.setdefault(words[0], []).append(words[1])

    def finish(self, where: str) -> Alignment:
        """Returns the alignment, once its parts are known to fit one another."""
        if not self.rows:
            raise CorruptInputError(where, f"no row since {self.where}")
        rows = {name: "".join(parts) for name, parts in self.rows.items()}
        width = len(next(iter(rows.values())))
        consensus = "".join(self.consensus) or None
        lines = rows if consensus is None else {**rows, "SS_cons": consensus}
        for name, aligned in lines.items():
            if len(aligned) != width:
                raise CorruptInputError(
                    where,
                    f"{name!r} of the alignment above has {len(aligned)} columns, "
                    f"expected {width} as in its first row",
                )
        if consensus is not None:
            _pairs(consensus, where)
        return Alignment(self.where, self.labels, rows, consensus)


def _begin(line: str, where: str) -> _Draft | None:
    """Returns a new draft at a header, None at a blank line."""
    if not line:
        return None
    if not line.startswith(_HEADER):
        raise CorruptInputError(where, f"{line[:20]!r} found, expected {_HEADER!r}")
    return _Draft(where)


def _pairs(consensus: str, where: str) -> list[tuple[int, int]]:
    """Returns the columns that pair in WUSS notation, pseudoknot letters left out."""
    open_columns: list[int] = []
    pairs: list[tuple[int, int]] = []
    for column, sign in enumerate(consensus):
        if sign in _OPENING:
            open_columns.append(column)
        elif sign in _CLOSING:
            if not open_columns or consensus[open_columns[-1]] != _CLOSING[sign]:
                raise CorruptInputError(
                    where, f"SS_cons: {sign!r} in column {column + 1} closes nothing"
                )
            pairs.append((open_columns.pop(), column))
        elif sign not in _UNPAIRED and not (sign.isascii() and sign.isalpha()):
            raise CorruptInputError(
                where, f"SS_cons: {sign!r} in column {column + 1} is no WUSS sign"
            )
    if open_columns:
        column = open_columns[-1]
        raise CorruptInputError(
            where,
            f"SS_cons: {consensus[column]!r} in column {column + 1} is never closed",
        )
    return pairs


def _project(pairs: list[tuple[int, int]], aligned: str) -> str:
    """Returns the dot-bracket structure of one member, its gaps taken out."""
    letters = aligned.upper().replace("T", "U")
    signs = ["" if letter in GAPS else "." for letter in letters]
    for left, right in pairs:
        if letters[left] + letters[right] in _CANONICAL:
            signs[left], signs[right] = "(", ")"
    return "".join(signs)

"""Terms of RNAs from files, and what each term is part of: GAF, tables and OBO.

Knows nothing of features or tests.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ribolex.errors import CorruptInputError
from ribolex.rna.text import open_text

_GAF_COLUMNS = 15
_UP = "is_a", "part_of"


@dataclass(frozen=True, slots=True)
class Ontology:
    """Names of terms and what they are part of; read-only."""

    names: Mapping[str, str] = field(default_factory=dict)
    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By is_a and part_of."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Other ids of terms."""

    def lift(self, terms: Iterable[str]) -> set[str]:
        """Returns terms with all that they are part of; circles are walked once."""
        out: set[str] = set()
        left = [self.replaced.get(term, term) for term in terms]
        while left:
            term = left.pop()
            if term not in out:
                out.add(term)
                left.extend(self.parents.get(term, ()))
        return out


def read_obo(path: Path) -> Ontology:
    """Returns the terms of an OBO file, obsolete ones left out.

    Raises:
        CorruptInputError: it has no term, one without an id, or breaks off.
    """
    names: dict[str, str] = {}
    parents: dict[str, tuple[str, ...]] = {}
    replaced: dict[str, str] = {}
    for line, stanza in _stanzas(path):
        if len(stanza.get("id", [])) != 1:
            raise CorruptInputError(f"{path}:{line}", "a [Term] without its one id")
        if stanza.get("is_obsolete") == ["true"]:
            continue
        term = stanza["id"][0]
        names[term] = stanza.get("name", [term])[0]
        parents[term] = tuple(dict.fromkeys(stanza.get("up", [])))
        replaced |= dict.fromkeys(stanza.get("alt_id", []), term)
    if not names:
        raise CorruptInputError(path, "no [Term], expected an OBO file")
    return Ontology(names, parents, replaced)


def read_terms(path: Path) -> dict[str, set[str]]:
    """Returns the terms of each name in a GAF file or a table.

    A GAF file begins with "!" (columns 2, 3 and 5: id, symbol, term; annotations with
    NOT are left out). A table has a name, a tab and a term a line; lines with "#" are
    passed over. Names are those of RNAs, or accessions of families or clans.

    Raises:
        CorruptInputError: a line has no term, or the file breaks off.
    """
    out: dict[str, set[str]] = defaultdict(set)
    is_gaf = False
    for number, text in _lines(path):
        if number == 1:
            is_gaf = text.startswith("!")
        if not text.strip() or text.startswith("!" if is_gaf else "#"):
            continue
        cells = text.split("\t")
        if is_gaf:
            if len(cells) < _GAF_COLUMNS:
                message = f"{len(cells)} columns, expected {_GAF_COLUMNS} or more"
                raise CorruptInputError(f"{path}:{number}", message)
            if "NOT" in cells[3].split("|"):
                continue
            names, term = cells[1:3], cells[4]
        else:
            names, term = cells[:1], cells[1] if len(cells) > 1 else ""
        if not (term := term.strip()):
            raise CorruptInputError(f"{path}:{number}", "no term, expected name, term")
        for name in names:
            out[name.strip()].add(term)
    out.pop("", None)
    return dict(out)


def _stanzas(path: Path) -> Iterator[tuple[int, dict[str, list[str]]]]:
    """Yields each [Term] with its line; "up" holds is_a and part_of."""
    begun, stanza = 0, dict[str, list[str]]()
    for number, text in _lines(path):
        text = text.strip()
        if text.startswith("["):
            if begun:
                yield begun, stanza
            begun, stanza = (number if text == "[Term]" else 0), {}
            continue
        tag, colon, value = text.partition(":")
        value = value.partition(" ! ")[0].strip()
        if not begun or not colon or not value:
            continue
        if tag == "relationship":
            tag, _, value = value.partition(" ")
        # Modifiers in braces come after an id.
        value = value.partition(" {")[0] if tag in _UP else value
        stanza.setdefault("up" if tag in _UP else tag, []).append(value.strip())
    if begun:
        yield begun, stanza


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with _readable(path), open_text(path) as stream:
        for number, text in enumerate(stream, start=1):
            yield number, text.rstrip("\r\n")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise CorruptInputError(path, f"{error}, expected text") from error

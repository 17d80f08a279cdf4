"""Gathers RNAs from files: which are wanted, of which clan, each sequence once.

Nothing here depends on the order of RNAs or files. Knows nothing of the disk that a
corpus goes to, nor of searches.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ribolex.errors import InvalidRequestError, RibolexError
from ribolex.rna import AlignmentRow, Rna
from ribolex.rna.elements import pair_partners
from ribolex.trainer.corpus.choice import family_of
from ribolex.trainer.corpus.manifest import Tallies
from ribolex.trainer.corpus.split import Shares, group_of, part_of

Rows = tuple[AlignmentRow, ...]


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """Everything that decides a corpus besides its inputs."""

    shortest: int = 10
    """Nucleotides; shorter RNAs are left out, and so on."""
    longest: int = 100_000
    max_ambiguous: float = 0.1
    """Largest share of letters other than A, C, G and U."""
    degap: bool = False
    """Remove gaps of FASTA and tables instead of refusing them."""
    strict: bool = False
    """Stop at the first letter that is none of RNA instead of leaving the RNA out."""
    shares: Shares = field(default_factory=Shares)
    salt: str = "ribolex"
    """Of the hash that splits: another one, another split."""
    identity: float | None = None
    """Held-out RNAs this much like a training RNA are left out; None: no search."""

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest:
            raise InvalidRequestError(
                "options.shortest",
                f"{self.shortest} found, expected 1 to longest, {self.longest}",
            )
        for name in ("max_ambiguous", "identity"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise InvalidRequestError(
                    f"options.{name}", f"{share:g} found, expected 0 to 1"
                )


class Gathered(NamedTuple):
    """RNAs, each sequence once, and the alignments that members of families are in."""

    rnas: list[Rna]
    """By group, family and name."""
    alignments: dict[str, Rows]
    """By family; rows of RNAs that were left out may be among them."""
    clans: dict[str, str]
    """By family; "" for none."""


class Gathering:
    """RNAs as they come in, under 1 kB of memory each; not thread-safe."""

    def __init__(self, options: CorpusOptions) -> None:
        self.options = options
        self._rnas: list[Rna] = []
        self._alignments: dict[str, Rows] = {}
        self.dropped = Tallies()
        self.noted = Tallies()
        self.n_read = 0

    def refuse(self, error: RibolexError) -> None:
        """Counts an RNA that could not be read; raises its error if that is wanted."""
        if self.options.strict:
            raise error
        self.n_read += 1
        self.dropped.add("letters that are none of RNA", str(error))

    def take(
        self, rnas: Iterable[Rna], source: str, tell: Callable[[int], None]
    ) -> None:
        """Keeps the RNAs that are wanted.

        Args:
            rnas: RNAs as read.
            source: what examples call the file.
            tell: is told how many were read so far.
        """
        for rna in rnas:
            self.n_read += 1
            tell(self.n_read)
            if reason := self._fault(rna):
                why, detail = reason
                self.dropped.add(why, f"{source}, {rna.name!r}: {detail}")
            else:
                self._rnas.append(self._with_sound_structure(rna, source))

    def take_rows(self, rows: Rows) -> None:
        """Keeps an alignment: the larger one where a family has two."""
        if not rows:
            return
        family = rows[0].family_acc
        other = self._alignments.setdefault(family, rows)
        if other != rows:
            self._alignments[family] = max(other, rows, key=lambda a: (len(a), a))
            self.noted.add("second alignment of a family set aside", family)

    def finish(self) -> "Gathered":
        """Returns what was gathered, each sequence once; nothing is left here.

        Of equal sequences that of the first group, family and name is kept, one with
        a structure before one without.
        """
        clans = self._settle_clans()
        self._rnas.sort(key=_rank)
        first: dict[str, Rna] = {}
        names: dict[str, int] = defaultdict(int)
        for rna in self._rnas:
            kept = first.setdefault(rna.sequence, rna)
            if kept is rna:
                names[rna.name] += 1
            else:
                example = f"{rna.name!r} of {_group(rna)}"
                example += f", as {kept.name!r} of {_group(kept)}"
                self.dropped.add(self._compare(kept, rna), example)
        for name, n_rnas in names.items():
            if n_rnas > 1:
                self.noted.add("name of more than one RNA", f"{name!r}: {n_rnas}")
        self._rnas = []
        return Gathered(list(first.values()), self._alignments, clans)

    def reasons(self) -> str:
        """Returns why RNAs were left out, in one line."""
        tallies = self.dropped.freeze().items()
        return ", ".join(f"{t.n} {reason}" for reason, t in tallies) or "none was read"

    def _fault(self, rna: Rna) -> tuple[str, str] | None:
        options, n_letters = self.options, len(rna.sequence)
        if not rna.name:
            return "no name", f"{n_letters} nucleotides"
        if n_letters < options.shortest:
            return "too short", f"{n_letters} nucleotides"
        if n_letters > options.longest:
            return "too long", f"{n_letters} nucleotides"
        n_unknown = n_letters - sum(map(rna.sequence.count, "ACGU"))
        if n_unknown > options.max_ambiguous * n_letters:
            return "too many ambiguous letters", f"{n_unknown} of {n_letters}"
        return None

    def _with_sound_structure(self, rna: Rna, source: str) -> Rna:
        if rna.structure is None:
            return rna
        where = f"{source}, {rna.name!r}"
        try:
            pair_partners(rna.structure, where)
        except InvalidRequestError as error:
            problem = str(error)
        else:
            n_signs, n_letters = len(rna.structure), len(rna.sequence)
            if n_signs == n_letters:
                return rna
            problem = f"{where}: {n_signs} signs, expected {n_letters}"
        self.noted.add("structure that does not fit, set aside", problem)
        return replace(rna, structure=None)

    def _settle_clans(self) -> dict[str, str]:
        """Gives every RNA the clan of its family, and returns clans by family.

        Were it not one clan a family, one family could be in two parts.
        """
        said: dict[str, set[str]] = defaultdict(set)
        for rna in self._rnas:
            if family := rna.metadata.get("family_acc"):
                said[family].add(rna.metadata.get("clan", ""))
        clans = {
            family: min(found - {""}, default="") for family, found in said.items()
        }
        for family, found in sorted(said.items()):
            if len(found) > 1:
                several = ", ".join(clan or "none" for clan in sorted(found))
                example = f"{family}: {several}; taken as {clans[family]}"
                self.noted.add("family with differing clans", example)
        for i, rna in enumerate(self._rnas):
            clan = clans.get(rna.metadata.get("family_acc", ""), "")
            if clan and rna.metadata.get("clan") != clan:
                self._rnas[i] = replace(rna, metadata={**rna.metadata, "clan": clan})
        return clans

    def _compare(self, kept: Rna, rna: Rna) -> str:
        shares, salt = self.options.shares, self.options.salt
        is_labelled = bool(rna.metadata.get("family_acc") or rna.metadata.get("clan"))
        if not is_labelled or family_of(kept) == family_of(rna):
            return "same sequence"
        if part_of(_group(kept), shares, salt) == part_of(_group(rna), shares, salt):
            return "same sequence in another family"
        return "same sequence in another part"


def _group(rna: Rna) -> str:
    return group_of(rna.name, rna.metadata)


def _rank(rna: Rna) -> tuple[str, str, bool, str, str, tuple[tuple[str, str], ...]]:
    return (
        _group(rna),
        family_of(rna),
        rna.structure is None,
        rna.name,
        rna.structure or "",
        tuple(sorted(rna.metadata.items())),
    )

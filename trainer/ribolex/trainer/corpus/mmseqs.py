"""Which RNAs are alike by their letters: a search with the program MMseqs2.

Knows nothing of parts or families.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna

PROGRAM = "mmseqs"
COVERAGE = 0.8
"""Share of the query that a hit has to cover."""

_WORD = 8
"""Letters. With MMseqs2's own 15, a fifth of the 40-nucleotide RNAs of 90 % identity
went unfound; with 8, none, in a tenth of the time."""


class Match(NamedTuple):
    """The most alike of the targets."""

    target: int
    """Its place."""
    identity: float


def find_program() -> str:
    """Returns where MMseqs2 is.

    Raises:
        InvalidRequestError: it is not on the PATH.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise InvalidRequestError(
            "identity",
            f"needs the program {PROGRAM!r} (MMseqs2), which is not on the PATH",
        )
    return program


def find_alike(
    queries: Sequence[Rna], targets: Sequence[Rna], identity: float
) -> dict[int, Match]:
    """Returns the best match of each query that has one, by its place.

    Args:
        queries: RNAs of which COVERAGE has to be in the match.
        targets: RNAs to search, on the same strand.
        identity: smallest share of equal letters in the alignment.

    Raises:
        InvalidRequestError: MMseqs2 is not there, or fails; says how.
    """
    program = find_program()
    if not queries or not targets:
        return {}
    with tempfile.TemporaryDirectory(prefix="ribolex-") as name:
        folder = Path(name)
        _write(folder / "queries.fasta", queries)
        _write(folder / "targets.fasta", targets)
        _run(program, folder, identity)
        return _read(folder / "hits.tsv")


def _write(path: Path, rnas: Sequence[Rna]) -> None:
    with path.open("w") as stream:
        for i, rna in enumerate(rnas):
            stream.write(f">{i}\n{rna.sequence.replace('U', 'T')}\n")


def _run(program: str, folder: Path, identity: float) -> None:
    options = {
        "--search-type": 3,  # nucleotides with nucleotides
        "--min-seq-id": identity,
        "-c": COVERAGE,
        "--cov-mode": 2,  # of the query
        "-k": _WORD,
        # Identity and coverage decide; short RNAs have large E-values.
        "-e": 1000,
        "--format-output": "query,target,fident",
        "--threads": len(os.sched_getaffinity(0)),
        "-v": 1,
    }
    names = ("queries.fasta", "targets.fasta", "hits.tsv", "work")
    done = subprocess.run(
        [
            program,
            "easy-search",
            *(str(folder / name) for name in names),
            *(str(word) for option in options.items() for word in option),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise InvalidRequestError(
            "identity", f"{program} ended with {done.returncode} and said: {said[-1]}"
        )


def _read(path: Path) -> dict[int, Match]:
    best: dict[int, Match] = {}
    with path.open() as stream:
        for line in stream:
            query, target, share = line.split("\t")
            match = Match(int(target), float(share))
            known = best.setdefault(int(query), match)
            if (-match.identity, match.target) < (-known.identity, known.target):
                best[int(query)] = match
    return best

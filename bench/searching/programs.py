"""Runs the programs that others wrote: BLAST, HMMER, MMseqs2, and parasail.

All queries in one run, one thread, so that starting and reading the database are shared
out; times are processor time of the program and what it starts. Only the query's own
strand is searched. A program that is not installed is left out.
"""

import json
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ribolex.rna.local_alignment import LETTERS
from searching.cases import write_fasta
from searching.ranking import DEPTH, Ranking

PARASAIL_ROUTINES = (
    "parasail_sw_striped_profile_avx2_256_16",
    "parasail_sw_scan_profile_avx2_256_16",
)
_PARASAIL_UNITS = 20
"""parasail's scores are whole numbers: twenty to one of ours."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a program is given."""

    queries: Sequence[str]
    database: Sequence[str]
    folder: Path
    """To write in; holds `queries.fa` and `database.fa`."""


class Found(NamedTuple):
    """What a program gave."""

    ranking: Ranking
    build_s: float
    """Processor time of making its own form of the database."""


@dataclass(frozen=True, slots=True)
class Program:
    """One way of running a program."""

    needs: str
    """What is to be on the path."""
    run: Callable[[Search], Found]


def run_program(
    program: Program, queries: Sequence[str], database: Sequence[str]
) -> Found:
    """Returns what a program finds."""
    with tempfile.TemporaryDirectory() as name:
        search = Search(queries, database, Path(name))
        write_fasta(search.folder / "queries.fa", queries)
        write_fasta(search.folder / "database.fa", database)
        return program.run(search)


def is_here(program: Program) -> bool:
    """Returns whether a program is installed."""
    return shutil.which(program.needs) is not None


def blastn(extra: str = "") -> Program:
    """Returns blastn with words of seven letters and no masking."""

    def run(search: Search) -> Found:
        build = _call("makeblastdb -dbtype nucl -in database.fa -out db", search)
        seconds = _call(
            "blastn -task blastn -query queries.fa -db db -word_size 7 -strand plus "
            f"-dust no -num_threads 1 -max_target_seqs {2 * DEPTH} -out hits "
            "-outfmt",
            search,
            "6 qseqid sseqid bitscore",
            *extra.split(),
        )
        return Found(_ranking(_columns(search, 0, 1, 2), search, seconds), build)

    return Program("blastn", run)


def nhmmer(extra: str = "") -> Program:
    """Returns nhmmer with each query as a profile of its own."""

    def run(search: Search) -> Found:
        seconds = _call(
            "nhmmer --dna --watson --cpu 0 --qsingle_seqs --qformat fasta "
            "--tblout hits -o /dev/null",
            search,
            *extra.split(),
            "queries.fa",
            "database.fa",
        )
        return Found(_ranking(_columns(search, 2, 0, 13), search, seconds), np.nan)

    return Program("nhmmer", run)


def mmseqs(extra: str = "") -> Program:
    """Returns MMseqs2's nucleotide search with an index made beforehand."""

    def run(search: Search) -> Found:
        quiet = "-v 1 --threads 1"
        database = "createdb database.fa db --dbtype 2 -v 1"
        build = _call(f"mmseqs {database}", search)
        seconds = _call("mmseqs createdb queries.fa q --dbtype 2 -v 1", search)
        seconds += _call(
            f"mmseqs search q db found tmp --search-type 3 --strand 1 {quiet} "
            f"--max-seqs {2 * DEPTH}",
            search,
            *extra.split(),
        )
        seconds += _call(
            f"mmseqs convertalis q db found hits --search-type 3 {quiet} "
            "--format-output query,target,bits",
            search,
        )
        return Found(_ranking(_columns(search, 0, 1, 2), search, seconds), build)

    return Program("mmseqs", run)


def parasail(
    python: Path, queries: Sequence[str], database: Sequence[str], routine: str
) -> tuple[np.ndarray, float]:
    """Returns parasail's score of each query and RNA, in our units, and the time.

    Args:
        python: the interpreter of an environment with parasail and numba.
        queries: asked.
        database: searched.
        routine: of parasail's library.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_fasta(folder / "queries.fa", queries)
        write_fasta(folder / "database.fa", database)
        table = np.rint(LETTERS.letters * _PARASAIL_UNITS)
        order = {
            "queries": str(folder / "queries.fa"),
            "targets": str(folder / "database.fa"),
            "out": str(folder / "scores.npy"),
            "letters": table.astype(int).tolist(),
            "gap_open": round(LETTERS.gap_open * _PARASAIL_UNITS),
            "gap_extend": round(LETTERS.gap_extend * _PARASAIL_UNITS),
            "routine": routine,
        }
        script = Path(__file__).parents[1] / "peers" / "parasail_scores.py"
        command = [str(python), str(script), json.dumps(order)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True)
        scores = np.load(folder / "scores.npy") / _PARASAIL_UNITS
        return scores, float(json.loads(printed.stdout)["seconds"])


def _call(command: str, search: Search, *extra: str) -> float:
    """Runs a command and returns the processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command.split(), *extra],
        cwd=search.folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr or done.stdout}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _columns(
    search: Search, query: int, target: int, score: int
) -> Iterator[tuple[int, int, float]]:
    with (search.folder / "hits").open() as stream:
        for line in stream:
            if not line.startswith("#"):
                cells = line.split()
                yield int(cells[query]), int(cells[target]), float(cells[score])


def _ranking(
    hits: Iterator[tuple[int, int, float]], search: Search, seconds: float
) -> Ranking:
    """Returns the ranking by each RNA's best hit."""
    best: list[dict[int, float]] = [{} for _ in search.queries]
    for query, target, score in hits:
        own = best[query]
        own[target] = max(score, own.get(target, score))
    lists = (
        (np.array(list(own), np.int64), np.array(list(own.values()), np.float64))
        for own in best
    )
    return Ranking.of_lists(lists, seconds)


PROGRAMS = {
    "blastn, words of 7": blastn("-evalue 100"),
    "blastn, words of 7, 5/-4": blastn(
        "-evalue 100 -reward 5 -penalty -4 -gapopen 8 -gapextend 6"
    ),
    "nhmmer, single query": nhmmer("-E 100"),
    "MMseqs2, words of 8": mmseqs("-k 8 -e 100"),
    "MMseqs2, words of 6": mmseqs("-k 6 -e 100 --min-ungapped-score 0"),
}

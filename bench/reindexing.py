"""How a collection moves to another dictionary while it is searched and written.

A server in a process of its own, on the model and dictionaries in the box, one thread
for the model and one for a search; --n-rnas RNAs of the sample are stored. Three
callers, each in a thread, that call so many times a second, or when the last answer is
there: searches by stored RNA (`fast`), searches by a sequence that was never seen
(`sensitive`: the model reads it, then RNAs are aligned), and one change a second: a new
RNA, and in turns one replaced or deleted, too. `server_cores` is processor time of the
server over time. In turns:

    before          the callers alone
    during          the same, beside a re-index at --max-share
    after           the callers alone, under the new dictionary
    killed          back, without callers; at half of it kill -9, and a new start
    full            `during` with --max-share 1: what a re-index without rests does

Exits with 1 if a change that was acknowledged is not as it should be under the new
dictionary, codes included, or if the killed one began anew. The ratios are of 99th
percentiles; the last line is JSON. Linux only.

    python bench/reindexing.py [--n-rnas N] [--max-share S] [--rate R] [--seconds T]
"""

import argparse
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from serving.processes import cpu_s

import ribolex_bundle
from ribolex.client import Client, Rna
from ribolex.client.child import running_server
from ribolex.rna import read_rnas

NAME = "bench"
FROM, TO = "ribolex-mini-l4", "ribolex-mini-l6"
SERVER = ["--threads", "1", "--search-threads", "1", "--log-level", "warning"]
N_CHECKED = 32
"""RNAs whose codes are compared with those of their letters."""


class Moved(NamedTuple):
    """What a re-index took and found."""

    took_s: float
    n_done_first: int
    """RNAs that were done when it was first asked for."""
    n_rnas: int
    overlap: float | None

    @property
    def per_s(self) -> float:
        """RNAs a second."""
        return (self.n_rnas - self.n_done_first) / self.took_s


class Load:
    """The callers, each in a thread of its own.

    Attributes:
        there: By name, the letters of every RNA that was acknowledged.
        gone: Names whose deletion was acknowledged.
        waits_ms: Of each kind of call since it was last taken.
        failures: Calls that failed, in words.
    """

    def __init__(self, address: str, rnas: Sequence[Rna], rate: float) -> None:
        self._address, self._rnas, self._rate = address, rnas, rate
        self.there = {rna.name: rna.sequence for rna in rnas}
        self.gone: set[str] = set()
        self.waits_ms: dict[str, list[float]] = {}
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._written = itertools.count()
        self._cores = 0.0

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Has the callers call while the block runs."""
        self._stop.clear()
        begun_s, used_s = time.perf_counter(), cpu_s(child())
        self.waits_ms = {"fast": [], "sensitive": [], "change": []}
        steps: list[tuple[str, Callable[[Client, Random], None], float]] = [
            ("fast", self._by_rna, self._rate),
            ("sensitive", self._by_sequence, self._rate),
            ("change", self._change, 1.0),
        ]
        threads = [threading.Thread(target=self._go, args=step) for step in steps]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
            passed_s = time.perf_counter() - begun_s
            self._cores = (cpu_s(child()) - used_s) / passed_s

    def _go(
        self, kind: str, step: Callable[[Client, Random], None], rate: float
    ) -> None:
        random, due_s = Random(kind + str(next(self._written))), time.perf_counter()
        with Client(self._address, timeout_s=120) as client:
            while not self._stop.wait(max(0.0, due_s - time.perf_counter())):
                begun_s = time.perf_counter()
                try:
                    step(client, random)
                except Exception as error:
                    self.failures.append(f"{kind}: {error}")
                self.waits_ms[kind].append(1e3 * (time.perf_counter() - begun_s))
                due_s = max(due_s + 1 / rate, time.perf_counter())

    def _by_rna(self, client: Client, random: Random) -> None:
        # The last ones may be gone.
        rna = random.choice(self._rnas[: len(self._rnas) // 2])
        client.search(NAME, rna=rna.name, sensitivity="fast")

    def _by_sequence(self, client: Client, random: Random) -> None:
        text = unseen(random, random.choice(self._rnas).sequence)
        client.search(NAME, sequence=text, sensitivity="sensitive")

    def _change(self, client: Client, random: Random) -> None:
        number = next(self._written)
        some = [Rna(f"new {number}", unseen(random, self._rnas[number].sequence))]
        last = len(self._rnas) - 1 - number // 3
        if number % 3 == 1:
            some.append(Rna(self._rnas[last].name, unseen(random, some[0].sequence)))
        client.upsert(NAME, some)
        self.there.update((rna.name, rna.sequence) for rna in some)
        self.gone.difference_update(rna.name for rna in some)
        if number % 3 == 2:
            client.delete_rnas(NAME, [self._rnas[last].name])
            del self.there[self._rnas[last].name]
            self.gone.add(self._rnas[last].name)

    def quantiles(self) -> dict[str, float]:
        """Returns p50 and p99 of each kind of call, and how many there were."""
        found: dict[str, float] = {}
        for kind, waits in self.waits_ms.items():
            for name, q in (("p50", 0.5), ("p99", 0.99)):
                found[f"{kind}_{name}_ms"] = round(float(np.quantile(waits, q)), 1)
            found[f"{kind}_calls"] = len(waits)
        return found | {"server_cores": round(self._cores, 2)}


def unseen(random: Random, text: str) -> str:
    """Returns letters of which one in ten is drawn anew."""
    return "".join(random.choice("ACGU") if random.random() < 0.1 else c for c in text)


def move(client: Client, to: str, max_share: float, until: float = 1.0) -> Moved:
    """Re-indexes; stops watching once such a part of it is done."""
    begun_s, first = time.perf_counter(), None
    for state in client.reindex(NAME, to, max_share=max_share):
        if first is None and state.n_rnas:
            first = state.n_done
        if until < 1 and state.n_done > until * max(1, state.n_rnas):
            break
    took_s = time.perf_counter() - begun_s
    return Moved(took_s, first or 0, state.n_rnas, state.overlap)


def wrongs(client: Client, load: Load) -> list[str]:
    """Returns what is not as it was acknowledged, under the new dictionary."""
    found = list(load.failures)
    now = {rna.name: rna.sequence for rna in client.list_rnas(NAME)}
    found += [f"{name}: lost" for name in load.there.keys() - now.keys()]
    found += [f"{name}: still there" for name in now.keys() & load.gone]
    found += [
        f"{name}: not what was written last"
        for name in now.keys() & load.there.keys()
        if now[name] != load.there[name]
    ]
    written = sorted(name for name in now if name.startswith("new "))
    for name in written[-N_CHECKED:]:
        stored = client.get_rna(NAME, name, level="nucleotide")
        codes = client.encode([now[name]], level="nucleotide", dictionary=TO)
        mine, fresh = stored.nucleotide_codes, codes.nucleotide_codes
        assert mine is not None
        assert fresh is not None
        if not np.array_equal(mine.indices, fresh.indices):
            found.append(f"{name}: codes are of another dictionary")
    return found


def tell(name: str, figures: dict[str, float]) -> None:
    """Prints one phase."""
    text = ", ".join(f"{what} {number:g}" for what, number in figures.items())
    print(f"{name:>7}: {text}", flush=True)


def child() -> int:
    """Returns the number of the one child of this process, which is the server."""
    (found,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return int(found)


def measure(
    options: argparse.Namespace, folder: Path
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Returns the figures of each phase, and what was wrong."""
    rnas = [r for r in read_rnas(ribolex_bundle.sample_path()) if len(r.sequence) < 512]
    chosen = np.linspace(0, len(rnas) - 1, options.n_rnas).astype(int)
    sample = [Rna(f"r{i}", rnas[i].sequence) for i in chosen]
    figures: dict[str, dict[str, float]] = {}

    def phase(name: str, load: Load, moved: Moved | None = None) -> None:
        figures[name] = load.quantiles()
        if moved is not None:
            figures[name] |= {
                "reindex_s": round(moved.took_s, 1),
                "rnas_per_s": round(moved.per_s, 1),
                "overlap_at_10": round(moved.overlap or 0.0, 3),
            }
        tell(name, figures[name])

    (folder / "1").mkdir()
    with (
        running_server(folder / "1", folder / "data", SERVER) as address,
        Client(address, timeout_s=600) as client,
    ):
        client.create_collection(NAME, dictionary=FROM)
        client.upsert(NAME, sample)
        load = Load(address, sample, options.rate)
        with load.going_on():
            time.sleep(options.seconds)
        phase("before", load)
        with load.going_on():
            moved = move(client, TO, options.max_share)
        phase("during", load, moved)
        wrong = wrongs(client, load)
        with load.going_on():
            time.sleep(options.seconds)
        phase("after", load)
        client.end_reindex(NAME)
        half = move(client, FROM, 1.0, until=0.5)
        at = client.get_collection(NAME).n_rnas // 2
        os.kill(child(), signal.SIGKILL)
    (folder / "2").mkdir()
    with (
        running_server(folder / "2", folder / "data", SERVER) as address,
        Client(address, timeout_s=600) as client,
    ):
        rest = move(client, FROM, 1.0)
        figures["killed"] = {
            "done_when_killed": at,
            "done_at_next_start": rest.n_done_first,
            "reindex_s": round(half.took_s + rest.took_s, 1),
        }
        tell("killed", figures["killed"])
        if rest.n_done_first < at:
            wrong.append(f"began anew with {rest.n_done_first} of {at} RNAs")
        client.end_reindex(NAME)
        there, load = load.there, Load(address, sample, options.rate)
        load.there = there
        load.gone = {rna.name for rna in sample} - there.keys()
        with load.going_on():
            moved = move(client, TO, 1.0)
        phase("full", load, moved)
        wrong += wrongs(client, load)
    return figures, wrong


def main() -> None:
    """Runs it, and prints a line a phase and one of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-rnas", type=int, default=3000)
    parser.add_argument("--max-share", type=float, default=0.5)
    parser.add_argument("--rate", type=float, default=2.0, help="searches a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="before and after")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures, wrong = measure(options, Path(folder))
    for one in wrong[:20]:
        print(f"WRONG: {one}")
    ratios = {
        f"{kind}_p99_{phase}_over_before": round(
            figures[phase][f"{kind}_p99_ms"] / figures["before"][f"{kind}_p99_ms"], 2
        )
        for kind in ("fast", "sensitive", "change")
        for phase in ("during", "full")
    }
    setting = {**vars(options), "from": FROM, "to": TO, "threads": 1}
    line = {
        "bench": "reindexing", "setting": setting, "ratios": ratios, "figures": figures
    }  # fmt: skip
    print(json.dumps(line))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

"""Collections written by processes that are killed, round after round, and checked.

    python -m tests.unit.server.crashing REGISTRY FOLDER ROUNDS SEED

Each round forks a process that stores and deletes RNAs without end, kills it with
SIGKILL at a random point, and opens in another process what it left. Prints counts
as JSON; ends with an error at the first thing that is not as acknowledged.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import faiss
import numpy as np
from tests.conftest import random_alignment
from tests.unit.server.agreement import check_agreement

from ribolex.dictionary import Codes, Dictionary
from ribolex.registry import FolderRegistry
from ribolex.rna import Rna
from ribolex.server.index import positions
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.intake import Encoded
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.metadata import AnyOf

_SMALL = 600
"""Slots of a block: each round fills some, so that files are written and dropped."""
_N_NAMES = 60
_MAX_DIARY = 3000
"""Bytes of it after which a process is killed, some 40 changes, or less."""
_MAX_PAUSE_S = 0.05
_MAX_WAIT_S = 30.0

State = dict[str, int]
"""RNAs that are there: by name the seed of their letters and codes."""


def rna_of(name: str, seed: int, n_features: int) -> Encoded:
    """Gives the RNA that a name and a seed stand for, always the same one."""
    random = np.random.default_rng([seed, *name.encode()])
    letters = "".join(random.choice(list("ACGU"), int(random.integers(1, 90))))
    features = np.argsort(random.random((len(letters), n_features)))[:, :6]
    values = random.exponential(size=features.shape).astype(np.float32)
    codes = Codes.from_topk(features, values, n_features)
    known = {"seed": str(seed), "part": str(seed % 7)}
    return Encoded(Rna(name, letters, None, known), codes, 0.5)


def after(state: State, change: list[object]) -> State:
    """Gives what is there once a change is made."""
    kind, told = change
    if kind == "upsert":
        assert isinstance(told, dict)
        return state | told
    if kind == "delete":
        assert isinstance(told, list)
        return {name: seed for name, seed in state.items() if name not in told}
    return {name: seed for name, seed in state.items() if seed % 7 != told}


def write_on(folder: Path, dictionary: Dictionary, diary: int, seed: int) -> None:
    """Changes a collection without end; each change is told before and after it."""
    random = np.random.default_rng(seed)
    collection = Collection(folder)
    collection.load(dictionary)
    n_features = dictionary.sae.n_features
    while True:
        chosen = [f"r{i}" for i in random.integers(0, _N_NAMES, random.integers(1, 9))]
        dice = random.random()
        change: list[object]
        if dice < 0.6:
            change = ["upsert", {n: int(random.integers(10**6)) for n in chosen}]
        elif dice < 0.95:
            change = ["delete", chosen]
        else:
            change = ["delete_where", int(random.integers(7))]
        os.write(diary, (json.dumps(change) + "\n").encode())
        kind, told = change
        if kind == "upsert":
            assert isinstance(told, dict)
            rnas = [rna_of(name, seed, n_features) for name, seed in told.items()]
            collection.upsert(rnas)
        elif kind == "delete":
            collection.delete(chosen)
        else:
            collection.delete_where((AnyOf("part", frozenset([str(told)])),), 10**6)
        os.write(diary, b"done\n")


def check(folder: Path, dictionary: Dictionary, allowed: list[State]) -> None:
    """Fails unless a collection is in one of some states, whole, and indexed as such.

    Leaves the number of the state in a file beside it.
    """
    collection = Collection(folder)
    collection.load(dictionary)
    rnas = collection.list_rnas((), "", 10**6, 10**9).rnas
    found = {rna.name: int(rna.metadata["seed"]) for rna in rnas}
    assert found in allowed, (found, allowed)
    assert check_agreement(collection) == len(found)
    for name, seed in found.items():
        expected, record = rna_of(name, seed, dictionary.sae.n_features), None
        record = collection.get(name)
        assert record.rna == expected.rna
        for part in ("indptr", "indices", "values"):
            have, want = getattr(record.codes, part), getattr(expected.codes, part)
            assert (have == want).all()
        pooled = collection.facts.measure.pool(expected.codes)
        assert (record.pooled.values == pooled.values).all()
    collection.close()
    folder.with_name("state").write_text(str(allowed.index(found)))


def warm_up(folder: Path, dictionary: Dictionary) -> None:
    """Compiles what is compiled as it is used, once for all processes."""
    folder.mkdir()
    Collection.create(folder, Facts.of("c", dictionary, SearchMeasure()))
    collection = Collection(folder)
    collection.load(dictionary)
    n_features = dictionary.sae.n_features
    collection.upsert([rna_of(f"r{i}", 1, n_features) for i in range(_N_NAMES)])
    check_agreement(collection)
    collection.close()


def forked(job: Callable[[], None]) -> int:
    """Begins a job in a process of its own; gives its id."""
    child = os.fork()
    if child == 0:
        try:
            job()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return child


def main(registry: str, root: str, rounds: int, seed: int) -> None:
    """Runs the rounds and prints their counts."""
    faiss.omp_set_num_threads(1)
    positions.SLOTS = _SMALL  # type: ignore[attr-defined]
    dictionary = FolderRegistry(Path(registry)).get("tiny@1")
    dictionary = replace(dictionary, alignment=random_alignment(1))
    folder, random = Path(root) / "c", np.random.default_rng(seed)
    folder.mkdir(parents=True)
    Collection.create(folder, Facts.of("c", dictionary, SearchMeasure()))
    warm_up(folder.with_name("warm"), dictionary)
    state: State = {}
    counts = dict.fromkeys(("changes", "cut_off", "of_them_kept", "rnas"), 0)
    for number in range(rounds):
        path = Path(root) / "diary"
        diary = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        child = forked(partial(write_on, folder, dictionary, diary, seed + number))
        # Four in five while it writes, the others maybe while it opens.
        n_bytes = _MAX_DIARY * random.random() if number % 5 else 0
        give_up_s = time.monotonic() + _MAX_WAIT_S
        while path.stat().st_size < n_bytes and time.monotonic() < give_up_s:
            time.sleep(0.001)
        time.sleep(random.random() * _MAX_PAUSE_S)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the writer ended by itself"
        os.close(diary)
        allowed = [state]
        # A last line may be cut off: what it tells was not begun.
        for line in path.read_text().splitlines(keepends=True):
            if line == "done\n":
                allowed = allowed[-1:]
                counts["changes"] += 1
            elif line.endswith("\n"):
                allowed = [allowed[-1], after(allowed[-1], json.loads(line))]
        _, status = os.waitpid(forked(partial(check, folder, dictionary, allowed)), 0)
        assert status == 0, f"round {number}"
        kept = int(folder.with_name("state").read_text())
        state = allowed[kept]
        counts["cut_off"] += len(allowed) == 2
        counts["of_them_kept"] += kept
        counts["rnas"] = len(state)
    sys.stdout.write(json.dumps({"rounds": rounds, **counts}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

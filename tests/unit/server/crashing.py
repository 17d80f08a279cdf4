"""Collections written by processes that are killed, round after round, and checked.

    python -m tests.unit.server.crashing REGISTRY FOLDER ROUNDS SEED

Each round forks a process in which several callers at once store and delete RNAs
without end, kills it with SIGKILL at a random point, and opens in another process what
it left. Prints counts as JSON; ends with an error at the first thing that is not as
acknowledged.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
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
from ribolex.server.index import pooled, pooled_blocks, pooled_index, positions
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.intake import Encoded, Storing
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.metadata import AnyOf
from ribolex.server.index.owner import Owner
from ribolex.server.index.records import Removal
from ribolex.server.index.upkeep import POOLED, RelativesOptions

_SMALL = 600
"""Slots of a block: each round fills some, so that files are written and dropped."""
_FEW = 16
"""Rows of a block of pooled codes, for the same reason; sketches come with the 10th."""
_N_CALLERS = 4
_N_NAMES = 60
_MAX_DIARY = 5000
"""Bytes of it after which a process is killed, some 60 changes, or less."""
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
    known = {"seed": str(seed), "part": f"{name[0]}.{seed % 7}"}
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


async def write_on(folder: Path, dictionary: Dictionary, diary: int, seed: int) -> None:
    """Has several callers change a collection without end, each RNAs of its own.

    Each change is told before it is asked for and after it was acknowledged.
    """
    owner = Owner(folder, RelativesOptions())
    await owner.load(dictionary)
    n_features = dictionary.sae.n_features

    async def change_on(caller: int) -> None:
        random = np.random.default_rng([seed, caller])

        def tell(what: object) -> None:
            os.write(diary, (json.dumps([caller, what]) + "\n").encode())

        while True:
            n_chosen = random.integers(1, 9)
            numbers = random.integers(0, _N_NAMES // _N_CALLERS, n_chosen)
            chosen = [f"{caller}r{i}" for i in numbers]
            dice = random.random()
            if dice < 0.6:
                seeds = {name: int(random.integers(10**6)) for name in chosen}
                tell(["upsert", seeds])
                rnas = [rna_of(name, seed, n_features) for name, seed in seeds.items()]
                await owner.write(Storing(rnas))
            elif dice < 0.95:
                tell(["delete", chosen])
                await owner.write(Removal(chosen))
            else:
                part = int(random.integers(7))
                tell(["delete_where", part])
                where = (AnyOf("part", frozenset([f"{caller}.{part}"])),)
                await owner.run(
                    partial(Collection.delete_where, where=where, limit=10**6)
                )
            tell("done")

    await asyncio.gather(*map(change_on, range(_N_CALLERS)))


def check(
    folder: Path, dictionary: Dictionary, allowed: Sequence[Sequence[State]]
) -> None:
    """Fails unless a collection is as acknowledged, whole, and indexed as such.

    The RNAs of each caller are in one of the states allowed for it; which ones is left
    in a file beside the collection.
    """
    collection = Collection(folder)
    collection.load(dictionary)
    rnas = collection.list_rnas((), "", 10**6, 10**9).rnas
    found = {rna.name: int(rna.metadata["seed"]) for rna in rnas}
    kept = []
    for caller, states in enumerate(allowed):
        own = {name: x for name, x in found.items() if name[0] == str(caller)}
        assert own in states, (caller, own, states)
        kept.append(states.index(own))
    assert check_agreement(collection) == len(found)
    for name, seed in found.items():
        expected, record = rna_of(name, seed, dictionary.sae.n_features), None
        record = collection.get(name)
        assert record.rna == expected.rna
        for part in ("indptr", "indices", "values"):
            have, want = getattr(record.codes, part), getattr(expected.codes, part)
            assert (have == want).all()
        code = collection.facts.measure.pool(expected.codes)
        assert (record.pooled.values == code.values).all()
    collection.close()
    folder.with_name("state").write_text(json.dumps(kept))


def warm_up(folder: Path, dictionary: Dictionary) -> None:
    """Compiles what is compiled as it is used, once for all processes."""
    folder.mkdir()
    Collection.create(folder, Facts.of("c", dictionary, SearchMeasure()))
    collection = Collection(folder)
    collection.load(dictionary)
    n_features = dictionary.sae.n_features
    collection.upsert([rna_of(f"0r{i}", 1, n_features) for i in range(_N_NAMES)])
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
    for module in (pooled, pooled_blocks, pooled_index):
        module.ROWS = _FEW  # type: ignore[attr-defined]
    pooled_index.FIRST_FIT = 10
    dictionary = FolderRegistry(Path(registry)).get("tiny@1")
    dictionary = replace(dictionary, alignment=random_alignment(1))
    folder, random = Path(root) / "c", np.random.default_rng(seed)
    folder.mkdir(parents=True)
    Collection.create(folder, Facts.of("c", dictionary, SearchMeasure()))
    warm_up(folder.with_name("warm"), dictionary)
    states: list[State] = [{} for _ in range(_N_CALLERS)]
    counts = dict.fromkeys(("changes", "cut_off", "of_them_kept", "rnas", "blocks"), 0)
    for number in range(rounds):
        path = Path(root) / "diary"
        diary = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        job = partial(write_on, folder, dictionary, diary, seed + number)
        child = forked(lambda job=job: asyncio.run(job()))  # type: ignore[misc]
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
        counts["blocks"] += len(list((folder / POOLED).glob("*.block")))
        allowed = [[state] for state in states]
        # A last line may be cut off: what it tells was not asked for.
        for line in path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            caller, told = json.loads(line)
            if told == "done":
                allowed[caller] = allowed[caller][-1:]
                counts["changes"] += 1
            else:
                allowed[caller].append(after(allowed[caller][-1], told))
        _, status = os.waitpid(forked(partial(check, folder, dictionary, allowed)), 0)
        assert status == 0, f"round {number}"
        kept = json.loads(folder.with_name("state").read_text())
        states = [of[i] for of, i in zip(allowed, kept, strict=True)]
        counts["cut_off"] += sum(len(of) == 2 for of in allowed)
        counts["of_them_kept"] += sum(kept)
        counts["rnas"] = sum(map(len, states))
    sys.stdout.write(json.dumps({"rounds": rounds, **counts}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

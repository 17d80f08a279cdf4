"""Collections written by processes that are killed, round after round, and checked.

    python -m tests.unit.server.crashing REGISTRY FOLDER ROUNDS SEED

Each round forks a process in which several callers at once store and delete RNAs
without end, while the collection moves from one dictionary to another and back; kills
it with SIGKILL at a random point, and opens in another process what it left. Prints
counts as JSON; ends with an error at the first thing that is not as acknowledged.
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
from tests.small_blocks import shrink_blocks
from tests.unit.server.agreement import check_agreement

from ribolex.dictionary import Codes, Dictionary
from ribolex.registry import FolderRegistry
from ribolex.rna import Rna
from ribolex.server.index import (
    generations,
    positions,
)
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.generations import Plan
from ribolex.server.index.intake import Encoded, Storing
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.metadata import AnyOf
from ribolex.server.index.moving import Move
from ribolex.server.index.records import Removal
from ribolex.server.index.store import CollectionStore
from ribolex.server.index.upkeep import POOLED

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

_MOVED = "moved"

Known = dict[int, Dictionary]
"""By version."""
Tell = Callable[[object], None]
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


async def follow(move: Move) -> None:
    """Brings a new index in step, with the codes that names and seeds stand for."""
    lag = await move.lag()
    await move.forget(lag.extra)
    found = await move.read(lag.missing.tolist())
    rnas = [rna_of(rna.name, int(rna.metadata["seed"]), 96) for _, rna in found]
    await move.put([place for place, _ in found], rnas)


async def move_on(store: CollectionStore, known: Known, tell: Tell) -> None:
    """Moves the collection from each of two dictionaries to the other without end.

    What is kept from before is used for the way back, or is deleted.
    """
    while True:
        if "c" not in store.moves.moves:
            version = 3 - (await store.summary("c")).facts.version
            plan = Plan("tiny", version, 1.0, 0.0)
            await store.moves.begin("c", known[version], plan)
        move = store.moves.moves["c"]
        await follow(move)
        move.old.may_write.clear()
        try:
            await move.old.run(lambda collection: None)
            await follow(move)
            await store.moves.flip(move)
        finally:
            move.old.may_write.set()
        tell(_MOVED)
        if move.plan.version == 1:
            await store.moves.end("c")


async def write_on(root: Path, known: Known, diary: int, seed: int) -> None:
    """Has several callers change a collection without end, each RNAs of its own.

    Each change is told before it is asked for and after it was acknowledged.
    """

    async def find(name: str, version: int) -> Dictionary:
        return known[version]

    store = CollectionStore(root, SearchMeasure(), find)
    await store.open()
    n_features = known[1].sae.n_features

    async def change_on(caller: int) -> None:
        random = np.random.default_rng([seed, caller])
        tell = partial(_tell, diary, caller)

        while True:
            n_chosen = random.integers(1, 9)
            numbers = random.integers(0, _N_NAMES // _N_CALLERS, n_chosen)
            chosen = [f"{caller}r{i}" for i in numbers]
            dice = random.random()
            if dice < 0.6:
                seeds = {name: int(random.integers(10**6)) for name in chosen}
                tell(["upsert", seeds])
                rnas = [rna_of(name, seed, n_features) for name, seed in seeds.items()]
                await store.write("c", Storing(rnas))
            elif dice < 0.95:
                tell(["delete", chosen])
                await store.write("c", Removal(chosen))
            else:
                part = int(random.integers(7))
                tell(["delete_where", part])
                where = (AnyOf("part", frozenset([f"{caller}.{part}"])),)
                await store.change(
                    "c", partial(Collection.delete_where, where=where, limit=10**6)
                )
            tell("done")

    moving = move_on(store, known, partial(_tell, diary, _N_CALLERS))
    await asyncio.gather(moving, *map(change_on, range(_N_CALLERS)))


def _tell(diary: int, caller: int, what: object) -> None:
    os.write(diary, (json.dumps([caller, what]) + "\n").encode())


def check(folder: Path, known: Known, allowed: Sequence[Sequence[State]]) -> None:
    """Fails unless a collection is as acknowledged, whole, and indexed as such.

    The RNAs of each caller are in one of the states allowed for it; which ones is left
    in a file beside the collection. What is kept or coming is as whole.
    """
    parts = generations.read(folder)
    for aside in {parts.kept, parts.coming} - {None}:
        other = open_collection(folder / str(aside), known)
        check_agreement(other)
        other.close()
    collection = open_collection(folder / parts.current, known)
    n_features = known[1].sae.n_features
    rnas = collection.list_rnas((), "", 10**6, 10**9).rnas
    found = {rna.name: int(rna.metadata["seed"]) for rna in rnas}
    kept = []
    for caller, states in enumerate(allowed):
        own = {name: x for name, x in found.items() if name[0] == str(caller)}
        assert own in states, (caller, own, states)
        kept.append(states.index(own))
    assert check_agreement(collection) == len(found)
    for name, seed in found.items():
        expected = rna_of(name, seed, n_features)
        record = collection.get(name)
        assert record.rna == expected.rna
        for part in ("indptr", "indices", "values"):
            have, want = getattr(record.codes, part), getattr(expected.codes, part)
            assert (have == want).all()
        code = collection.facts.measure.pool(expected.codes)
        assert (record.pooled.values == code.values).all()
    collection.close()
    folder.parent.with_name("state").write_text(json.dumps(kept))


def open_collection(folder: Path, known: Known) -> Collection:
    """Gives a collection with its indexes, under the dictionary that it is of."""
    collection = Collection(folder)
    collection.load(known[collection.facts.version])
    return collection


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
    shrink_blocks(setattr, rows=_FEW, first_fit=10)
    there = FolderRegistry(Path(registry))
    known = {
        version: replace(there.get(f"tiny@{version}"), alignment=random_alignment(1))
        for version in (1, 2)
    }
    folder, random = Path(root) / "data" / "c", np.random.default_rng(seed)
    folder.mkdir(parents=True)
    Collection.create(folder, Facts.of("c", known[1], SearchMeasure()))
    warm_up(Path(root) / "warm", known[1])
    states: list[State] = [{} for _ in range(_N_CALLERS)]
    kinds = ("changes", "cut_off", "of_them_kept", "rnas", "blocks", "moves")
    counts = dict.fromkeys(kinds, 0)
    for number in range(rounds):
        path = Path(root) / "diary"
        diary = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        job = partial(write_on, folder.parent, known, diary, seed + number)
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
        counts["blocks"] += len(list(folder.rglob(f"{POOLED}/*.block")))
        allowed = [[state] for state in states]
        # A last line may be cut off: what it tells was not asked for.
        for line in path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            caller, told = json.loads(line)
            if told == _MOVED:
                counts["moves"] += 1
            elif told == "done":
                allowed[caller] = allowed[caller][-1:]
                counts["changes"] += 1
            else:
                allowed[caller].append(after(allowed[caller][-1], told))
        _, status = os.waitpid(forked(partial(check, folder, known, allowed)), 0)
        assert status == 0, f"round {number}"
        kept = json.loads((Path(root) / "state").read_text())
        states = [of[i] for of, i in zip(allowed, kept, strict=True)]
        counts["cut_off"] += sum(len(of) == 2 for of in allowed)
        counts["of_them_kept"] += sum(kept)
        counts["rnas"] = sum(map(len, states))
    sys.stdout.write(json.dumps({"rounds": rounds, **counts}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

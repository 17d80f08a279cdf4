"""Servers killed while they restore a collection, round after round, and checked.

    python -m tests.unit.server.restoring REGISTRY FOLDER ROUNDS SEED

Prints counts as JSON; ends with an error if a collection is there by halves.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path

import faiss
import numpy as np
from tests.unit.server.agreement import check_agreement
from tests.unit.server.crashing import forked, rna_of

from ribolex.dictionary import Dictionary
from ribolex.errors import CollectionNotFoundError
from ribolex.registry import FolderRegistry
from ribolex.server.index.intake import Storing
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.store import CollectionStore

_N_RNAS = 400


def open_store(root: Path, dictionary: Dictionary) -> CollectionStore:
    """Gives the store of a folder, to be opened."""

    async def find(name: str, version: int) -> Dictionary:
        return dictionary

    return CollectionStore(root, SearchMeasure(), find)


async def make(root: Path, dictionary: Dictionary, out: Path) -> None:
    """Writes a snapshot of a collection to a path."""
    store = open_store(root, dictionary)
    await store.create("c", dictionary, SearchMeasure())
    n_features = dictionary.sae.n_features
    rnas = [rna_of(f"0r{i}", i, n_features) for i in range(_N_RNAS)]
    await store.write("c", Storing(rnas))
    with (await store.snapshot("c")).file as file, out.open("wb") as copy:
        shutil.copyfileobj(file, copy)
    await store.close()


async def restore(root: Path, dictionary: Dictionary, snapshot: Path) -> None:
    """Restores it as a server does, and tells how far it came by files beside it."""
    store = open_store(root, dictionary)
    await store.open()
    snapshot.with_name("begun").touch()
    async with store.receiving() as path:
        shutil.copyfile(snapshot, path)
        await store.restore(path, "new")
    snapshot.with_name("done").touch()


def run(root: Path, dictionary: Dictionary, snapshot: Path) -> None:
    """Restores in a process of its own."""
    asyncio.run(restore(root, dictionary, snapshot))


async def check(root: Path, dictionary: Dictionary) -> bool:
    """Gives whether the collection is there; fails if it is so by halves."""
    store = open_store(root, dictionary)
    await store.open()
    assert set(os.listdir(root)) <= {".lock", "new"}
    try:
        assert await store.run("new", check_agreement) == _N_RNAS
        there = True
    except CollectionNotFoundError:
        there = False
    await store.close()
    return there


def main(registry: str, folder: str, rounds: int, seed: int) -> None:
    """Runs the rounds and prints their counts."""
    faiss.omp_set_num_threads(1)
    dictionary = FolderRegistry(Path(registry)).get("tiny@1")
    base, random = Path(folder), np.random.default_rng(seed)
    base.mkdir(parents=True)
    snapshot, took_s = base / "snapshot", 0.0
    asyncio.run(make(base / "first", dictionary, snapshot))
    counts = {"rounds": rounds, "whole": 0, "absent": 0}
    for number in range(-1, rounds):
        root = base / f"data{number}"
        for name in ("begun", "done"):
            (base / name).unlink(missing_ok=True)
        child = forked(partial(run, root, dictionary, snapshot))
        while not (base / "begun").exists():
            time.sleep(0.001)
        begun_s = time.monotonic()
        if number < 0:  # how long it takes when nobody ends it
            os.waitpid(child, 0)
            took_s = time.monotonic() - begun_s
            continue
        time.sleep(random.random() * took_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        is_done = (base / "done").exists()
        there = asyncio.run(check(root, dictionary))
        assert there or not is_done
        counts["whole" if there else "absent"] += 1
        shutil.rmtree(root)
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

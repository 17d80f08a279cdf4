"""Changes of a collection that are acknowledged, on disk, in a second.

Several callers store RNAs of the sample in the box again and again, each under names
of its own, and each waits for its acknowledgement before it goes on. Codes are at hand:
no model takes part. `apart` gives every change a transaction of its own, `shared` is
how a server writes: changes that wait share one. Indexes are kept, the positional one
included.

    python bench/commits.py --streams 1 4 16 --rnas 1

The folder decides: --folder on the disk that is meant. The last line is JSON.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ribolex.dictionary import Dictionary
from ribolex.lm import load_lm
from ribolex.registry import open_registry
from ribolex.rna import read_rnas
from ribolex.server.engine.encoding import EncodeTask, Recipe
from ribolex.server.engine.task import compute
from ribolex.server.index.intake import Encoded, Storing
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.store import CollectionStore
from ribolex.server.index.warming import warm_up
from ribolex_bundle import DEFAULT_DICTIONARY, sample_path

_N_RNAS = 256


def main() -> None:
    """Encodes, stores, prints."""
    asked = _arguments()
    torch.set_num_threads(1)
    dictionary = open_registry("bundled").get(DEFAULT_DICTIONARY)
    rnas = _encode(dictionary)
    warm_up()
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for n_streams in asked.streams:
        for way in ("apart", "shared"):
            with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
                run = _measure(Path(folder), dictionary, rnas, n_streams, way, asked)
                figures[f"{way}_{n_streams}"] = asyncio.run(run)
        shared, apart = (figures[f"{way}_{n_streams}"] for way in ("shared", "apart"))
        ratios[f"streams_{n_streams}"] = shared / apart
        print(
            f"{n_streams:>3} streams: {apart:8,.0f} acknowledgements/s apart, "
            f"{shared:8,.0f} shared ({shared / apart:.2f}x)"
        )
    setting = {"rnas": asked.rnas, "seconds": asked.seconds}
    told = {"bench": "commits", "setting": setting, "ratios": ratios}
    print(json.dumps(told | {"figures": figures}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rnas", type=int, default=1, help="of a change")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each figure")
    parser.add_argument("--folder", type=Path, help="where collections are")
    return parser.parse_args()


def _encode(dictionary: Dictionary) -> list[Encoded]:
    lm = load_lm("bundled")
    recipe = Recipe(dictionary.sae.k, None)
    rnas = [rna for rna, _ in zip(read_rnas(sample_path()), range(_N_RNAS))]  # noqa: B905
    tasks = [EncodeTask(rna.sequence, dictionary, recipe) for rna in rnas]
    done = compute(lm, tasks)
    return [Encoded(r, e.codes, e.fvu) for r, e in zip(rnas, done, strict=True)]


async def _measure(
    folder: Path,
    dictionary: Dictionary,
    rnas: list[Encoded],
    n_streams: int,
    way: str,
    asked: argparse.Namespace,
) -> float:
    """Returns acknowledgements a second."""

    async def find(name: str, version: int) -> Dictionary:
        return dictionary

    store = CollectionStore(folder, SearchMeasure(), find)
    await store.create("c", dictionary, SearchMeasure())
    await store.run("c", lambda collection: collection.n_rnas)

    async def store_apart(storing: Storing) -> object:
        return await store.run("c", lambda collection: collection.write([storing]))

    write = partial(store.write, "c") if way == "shared" else store_apart
    stop_s = time.monotonic() + asked.seconds
    counts = await asyncio.gather(
        *(_stream(i, rnas, asked.rnas, write, stop_s) for i in range(n_streams))
    )
    took_s = asked.seconds + time.monotonic() - stop_s
    await store.close()
    return sum(counts) / took_s


async def _stream(
    number: int,
    rnas: list[Encoded],
    n_rnas: int,
    write: Callable[[Storing], Awaitable[object]],
    stop_s: float,
) -> int:
    n_done = 0
    while time.monotonic() < stop_s:
        group = []
        for i in range(n_rnas):
            rna, codes, fvu = rnas[(n_done * n_rnas + i) % len(rnas)]
            name = f"{rna.name} {number} {n_done * n_rnas + i}"
            group.append(Encoded(replace(rna, name=name), codes, fvu))
        await write(Storing(group))
        n_done += 1
    return n_done


if __name__ == "__main__":
    main()

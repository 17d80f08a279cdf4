"""Whether a collection whose codes are in a Milvus finds what one without it finds.

RNAs of the sample in the box are stored in two collections: one with the indexes of a
server by itself, one whose codes are in a Milvus Lite, started here, over the wire.
Some of them are searched for, `fast` and `sensitive`, and the ten best hits compared.
How many candidates a sensitive search needs is told apart, without a Milvus: the part
of the ten best hits, E-value 0.001 at most, that are among the largest dot products.

    pip install 'ribolex[milvus]' milvus-lite && python bench/engines.py

The last line is JSON.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from ribolex.dictionary import Dictionary
from ribolex.lm import load_lm
from ribolex.registry import open_registry
from ribolex.rna import read_rnas
from ribolex.server.engine.encoding import EncodeTask, Recipe
from ribolex.server.engine.task import compute
from ribolex.server.index import stored_relatives
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.intake import Encoded
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.milvus import Milvus, MilvusAddress
from ribolex.server.index.search import Search, Sensitivity
from ribolex.server.index.stored_codes import StoredCodes
from ribolex.server.index.upkeep import RelativesOptions
from ribolex.server.index.warming import warm_up
from ribolex_bundle import DEFAULT_DICTIONARY, sample_path

_SEED = 7
_TOP = 10
_CANDIDATES = (50, 100, 250, 500, 1000, 2000)
_E_VALUE = 1e-3


def main() -> None:
    """Encodes, stores, searches, prints."""
    asked = _arguments()
    torch.set_num_threads(1)
    dictionary = open_registry("bundled").get(DEFAULT_DICTIONARY)
    rnas = _encode(dictionary, max(asked.rnas, asked.pool))
    warm_up()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, _milvus_lite(Path(folder)) as url:
        root = Path(folder)
        milvus = Milvus(MilvusAddress.parse(url), root)
        here = _collection(root / "here", dictionary, RelativesOptions())
        there = _collection(root / "there", dictionary, RelativesOptions(milvus=milvus))
        for name, one in (("embedded", here), ("milvus", there)):
            begun_s = time.process_time()
            one.upsert(rnas[: asked.rnas])
            took_s = time.process_time() - begun_s
            figures[f"{name}_upserts_per_cpu_s"] = asked.rnas / took_s
        queries = _queries(rnas[: asked.rnas], asked.queries)
        stored_relatives.N_CANDIDATES = asked.candidates
        for way in ("fast", "sensitive"):
            figures |= _compare(here, there, queries, way)
        here.close()
        there.close()
        if asked.pool:
            one = _collection(root / "pool", dictionary, RelativesOptions())
            one.upsert(rnas[: asked.pool])
            figures |= _needed(one, _queries(rnas[: asked.pool], asked.pool_queries))
            figures |= _reading(one)
            one.close()
    for name, value in figures.items():
        print(f"{name:40} {value:10.4g}")
    setting = {
        k: getattr(asked, k)
        for k in ("rnas", "queries", "candidates", "pool", "pool_queries")
    }
    told = {"bench": "engines", "setting": setting, "ratios": {}, "figures": figures}
    print(json.dumps(told))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rnas", type=int, default=400, help="in both collections")
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument(
        "--candidates", type=int, default=100, help="that are aligned, of --rnas"
    )
    parser.add_argument("--pool", type=int, default=4000, help="RNAs; 0 for no such")
    parser.add_argument("--pool-queries", type=int, default=100)
    return parser.parse_args()


def _encode(dictionary: Dictionary, n: int) -> list[Encoded]:
    rnas = list(read_rnas(sample_path()))
    chosen = np.random.default_rng(_SEED).permutation(len(rnas))[:n].tolist()
    lm, recipe = load_lm("bundled"), Recipe(dictionary.sae.k, None)
    out = []
    for start in range(0, len(chosen), 64):
        part = [rnas[i] for i in chosen[start : start + 64]]
        tasks = [EncodeTask(rna.sequence, dictionary, recipe) for rna in part]
        done = zip(part, compute(lm, tasks), strict=True)
        out += [Encoded(rna, each.codes, each.fvu) for rna, each in done]
    return out


def _queries(rnas: Sequence[Encoded], n: int) -> list[str]:
    chosen = np.random.default_rng(_SEED).permutation(len(rnas))[:n]
    return [rnas[i].rna.name for i in chosen]


def _collection(
    folder: Path, dictionary: Dictionary, options: RelativesOptions
) -> Collection:
    folder.mkdir()
    facts = Facts.of(folder.name, dictionary, SearchMeasure())
    Collection.create(folder, facts)
    made = Collection(folder, options)
    made.load(dictionary)
    return made


def _compare(
    here: Collection, there: Collection, queries: Sequence[str], way: Sensitivity
) -> dict[str, float]:
    """Returns how many of the ten best hits are the same, and what both cost here.

    Processor time of this process: that of the Milvus is not in it.
    """
    same, differences, times_s = [], [0.0], ([], [])
    for name in queries:
        found = []
        for collection, took_s in zip((here, there), times_s, strict=True):
            begun_s = time.process_time()
            search = Search(_TOP, 0, way)
            hits = collection.search(collection.query_like(name), search).hits
            took_s.append(time.process_time() - begun_s)
            found.append({hit.rna.name: hit.score for hit in hits})
        ours, theirs = found
        if ours:
            same.append(len(ours.keys() & theirs.keys()) / len(ours))
        both = ours.keys() & theirs.keys()
        differences += [abs(ours[other] - theirs[other]) for other in both]
    return {
        f"{way}_agreement": float(np.mean(same)),
        f"{way}_largest_difference_of_scores": max(differences),
        f"{way}_embedded_cpu_ms": 1000 * float(np.median(times_s[0])),
        f"{way}_milvus_cpu_ms": 1000 * float(np.median(times_s[1])),
    }


def _needed(collection: Collection, queries: Sequence[str]) -> dict[str, float]:
    """Returns the part of sensitive hits that is among so many nearest candidates."""
    within: dict[int, list[float]] = {n: [] for n in _CANDIDATES}
    stored = StoredCodes(collection._records)
    rnas = stored.read(range(stored.end))
    names = [one.name for one in rnas]
    codes = np.zeros((len(rnas), collection.facts.n_features), np.float32)
    for row, one in zip(codes, rnas, strict=True):
        weighed = collection.indexes.codes.weigh(one.pooled)
        row[weighed.features] = weighed.weights
    for name in queries:
        query = collection.query_like(name)
        search = Search(_TOP, 0, "sensitive", max_e_value=_E_VALUE)
        wanted = [hit.rna.name for hit in collection.search(query, search).hits]
        if not wanted:
            continue
        vector = collection.indexes.codes.weigh(query.pooled)
        order = np.argsort(-(codes[:, vector.features] @ vector.weights))
        found = [names[i] for i in order if names[i] != name]
        ranks = np.array([found.index(n) if n in found else 10**9 for n in wanted])
        for n, parts in within.items():
            parts.append(float(np.mean(ranks < n)))
    told = {f"hits_in_{n}_of_pool": float(np.mean(p)) for n, p in within.items()}
    return told | {"queries_with_hits": float(len(within[_CANDIDATES[0]]))}


def _reading(collection: Collection) -> dict[str, float]:
    """Returns how fast records are read where no memory has what they have."""
    codes = StoredCodes(collection._records)
    begun_s = time.process_time()
    codes.strongest(0, _TOP)
    took_s = time.process_time() - begun_s
    return {"examples_rnas_per_cpu_s": collection.n_rnas / took_s}


@contextmanager
def _milvus_lite(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("milvus-lite")
    where = ["--data-dir", folder / "lite", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([program, "server", *where], stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()

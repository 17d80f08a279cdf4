"""How fast pooled codes are searched, and how well, beside other engines.

Real codes: of the bundled sample, and of RNAs of tables if they are given. 300 of
them are held out as queries. The database is the others, then replicas of them up to
the size: nucleotides of a real RNA, of which 10 to 60 % were replaced, in pieces of 8
to 32, by nucleotides of other real RNAs; so that the counts of features are those of
real nucleotides, and relatives are near and far.

Ours is asked for the weighted Jaccard index, which is what `fast` compares; and, beside
other engines, for the inner product that they know. Each of these is asked with the
least thorough setting that finds as much as ours did, or as much as any of its own. One
that would need more memory or hours to build is asked on the first RNAs only, and so
is ours beside it. Recall is the part of the ten nearest, by all compared exactly,
that is found. Times are of one thread unless said otherwise, wall clock and processor.

    python bench/search.py [--size N] [--table FILE ...] [--encoded FILE]
        [--peers-python PATH] [--n-queries N]
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from searching.codes import Encoded, Reader, encode

import ribolex_bundle
from ribolex.dictionary import Dictionary
from ribolex.lm import load_lm
from ribolex.registry import FolderRegistry
from ribolex.rna import read_rnas
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.pooled import PooledSearch, Scored
from ribolex.server.index.pooled_blocks import PooledBlock
from ribolex.server.index.position_files import BlockFolder
from ribolex.server.index.records import PooledCode

TOP = 10
N_HELD_OUT = 300
GROUP = 4096
ROUNDS = 5
"""Of all queries. Where other processes take caches and clock from this one, the
fastest of a query's times says more; between two of them are all other queries."""
JACCARD = SearchMeasure()
COSINE = SearchMeasure(likeness="cosine")
PEERS = {
    "faiss_flat": 100_000,
    "sindi": 100_000,
    "qdrant_edge": 100_000,
    "seismic": 20_000,
    "milvus_lite": 1_000,
}
"""And the most RNAs that each is asked on, for its memory or the time it builds."""


class Real(NamedTuple):
    """Nucleotide codes of all real RNAs, features only."""

    features: np.ndarray
    """[nucleotide, k]."""
    offsets: np.ndarray
    """[RNA + 1]"""
    queries: np.ndarray
    others: np.ndarray


def read_real(options: argparse.Namespace, dictionary: Dictionary) -> Real:
    """Returns the codes of the sample and the tables; encodes them if it must."""
    with tempfile.TemporaryDirectory() as name:
        folder = options.encoded or Path(name)
        reader = Reader.of_dictionary(dictionary)
        if not (folder / f"{reader.name}.npz").exists():
            paths = [ribolex_bundle.sample_path(), *options.table]
            found = {rna.sequence for path in paths for rna in read_rnas(path)}
            sequences = sorted(s for s in found if len(s) <= 512)
            encode(load_lm("bundled"), [reader], sequences, folder)
        encoded = Encoded.read(folder, reader.name)
    k = dictionary.sae.k
    features = encoded.codes.indices.astype(np.uint16).reshape(-1, k)
    order = np.random.default_rng(options.seed).permutation(len(encoded.offsets) - 1)
    held, rest = order[:N_HELD_OUT], np.sort(order[N_HELD_OUT:])
    return Real(features, encoded.offsets.astype(np.int64), held, rest)


@njit(cache=True)
def replicate(
    features: np.ndarray,
    offsets: np.ndarray,
    sources: np.ndarray,
    pool: np.ndarray,
    noise: np.ndarray,
    n_features: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns bounds, features and counts of one replica of each source."""
    np.random.seed(seed)
    bounds = np.zeros(len(sources) + 1, np.int64)
    longest = 0
    for source in sources:
        longest = max(longest, offsets[source + 1] - offsets[source])
    room = len(sources) * min(n_features, longest * features.shape[1])
    indices, counts = np.empty(room, np.uint32), np.empty(room, np.float32)
    count, end = np.zeros(n_features, np.int64), 0
    for i in range(len(sources)):
        at, stop = offsets[sources[i]], offsets[sources[i] + 1]
        while at < stop:
            length = min(np.random.randint(8, 33), stop - at)
            first = at
            if np.random.random() < noise[i]:
                other = pool[np.random.randint(len(pool))]
                span = offsets[other + 1] - offsets[other]
                length = min(length, span)
                first = offsets[other] + np.random.randint(span - length + 1)
            for row in range(first, first + length):
                for feature in features[row]:
                    count[feature] += 1
            at += length
        for feature in range(n_features):
            if count[feature]:
                indices[end], counts[end] = feature, count[feature]
                count[feature] = 0
                end += 1
        bounds[i + 1] = end
    return bounds, indices[:end], counts[:end]


def groups(
    real: Real, size: int, n_features: int, seed: int
) -> Iterator[tuple[int, list[PooledCode]]]:
    """Yields the database in parts, with the number of the first of each."""
    random = np.random.default_rng([seed, 1])
    n_real = min(size, len(real.others))
    sources = np.concatenate([real.others[:n_real], random.choice(real.others, size)])
    noise = random.uniform(0.1, 0.6, size)
    noise[:n_real] = 0
    for start in range(0, size, GROUP):
        part = slice(start, min(start + GROUP, size))
        yield start, pooled(real, sources[part], noise[part], n_features, start)


def pooled(
    real: Real, sources: np.ndarray, noise: np.ndarray, n_features: int, seed: int
) -> list[PooledCode]:
    """Returns the pooled codes of replicas."""
    bounds, indices, counts = replicate(
        real.features, real.offsets, sources, real.others, noise, n_features, seed
    )
    return [
        PooledCode(indices[a:b], counts[a:b], counts[a:b])
        for a, b in zip(bounds, bounds[1:], strict=False)
    ]


class Timed(NamedTuple):
    """What searches took, and found."""

    s: np.ndarray
    """[round, query]"""
    cpu_s: np.ndarray
    recall: float

    def figures(self, name: str) -> dict[str, float]:
        """Returns it in ms, by name."""
        return {
            f"{name}_ms_p50": 1e3 * float(np.median(self.s)),
            f"{name}_ms_p99": 1e3 * float(np.quantile(self.s, 0.99)),
            f"{name}_cpu_ms_p50": 1e3 * float(np.median(self.cpu_s)),
            f"{name}_cpu_ms_mean": 1e3 * float(np.mean(self.cpu_s)),
            f"{name}_ms_p50_of_fastest": 1e3 * float(np.median(self.s.min(axis=0))),
            f"{name}_cpu_ms_p50_of_fastest": 1e3
            * float(np.median(self.cpu_s.min(axis=0))),
            f"{name}_recall_at_10": self.recall,
        }


class Truth(NamedTuple):
    """The scores that hits must have, of each query."""

    tenth: list[float]
    s: list[float]


def ask_all(search: PooledSearch, queries: list[PooledCode]) -> Truth:
    """Compares everything exactly."""
    tenth, seconds = [], []
    for query in queries:
        begun = time.perf_counter()
        found = search.nearest(search.weigh(query), TOP, exact=True)
        seconds.append(time.perf_counter() - begun)
        tenth.append(float(np.partition(found.scores, -TOP)[-TOP]))
    return Truth(tenth, seconds)


def ask(search: PooledSearch, queries: list[PooledCode], truth: Truth) -> Timed:
    """Times searches as they are served, some rounds of all queries."""
    seconds, cpu, found = [], [], []
    search.nearest(search.weigh(queries[0]), TOP)
    for query in ROUNDS * queries:
        begun = time.perf_counter(), time.process_time()
        found.append(search.nearest(search.weigh(query), TOP))
        seconds.append(time.perf_counter() - begun[0])
        cpu.append(time.process_time() - begun[1])
    shape = ROUNDS, len(queries)
    times = np.reshape(seconds, shape), np.reshape(cpu, shape)
    return Timed(*times, recall(found[: len(queries)], truth))


def recall(found: list[Scored], truth: Truth) -> float:
    """Returns the part of hits that are as good as the tenth best."""
    good = [
        min(TOP, int(np.count_nonzero(scores >= tenth - 1e-6)))
        for (_, scores), tenth in zip(found, truth.tenth, strict=True)
    ]
    return sum(good) / (TOP * len(good))


def run_ours(
    options: argparse.Namespace, real: Real, dictionary: Dictionary, folder: Path
) -> tuple[dict[str, float], list[PooledCode]]:
    """Returns what ours does at the whole size, and the queries."""
    idf = dictionary.features.idf
    chosen = real.queries[: options.n_queries]
    queries = pooled(real, chosen, np.zeros(len(chosen)), len(idf), 0)
    files = BlockFolder(folder / "blocks", "bench", PooledBlock)
    search = PooledSearch(JACCARD, idf, folder=files)
    wall = cpu = 0.0
    for start, codes in groups(real, options.size, len(idf), options.seed):
        begun = time.perf_counter(), time.process_time()
        search.index.put(range(start, start + len(codes)), 1, codes)
        wall += time.perf_counter() - begun[0]
        cpu += time.process_time() - begun[1]
    figures = {"put_per_s": options.size / wall, "put_per_cpu_s": options.size / cpu}
    _, codes = next(groups(real, GROUP, len(idf), options.seed + 1))
    begun = time.perf_counter(), time.process_time()
    for start in range(0, GROUP, 64):
        search.index.put(range(start, start + 64), 2, codes[start : start + 64])
    figures["update_per_s"] = GROUP / (time.perf_counter() - begun[0])
    figures["update_per_cpu_s"] = GROUP / (time.process_time() - begun[1])
    blocks = [part.block for part in search.index.parts()]
    n_rows = sum(map(len, blocks))
    figures["sketch_bytes_per_rna"] = sum(b.sketch_bytes for b in blocks) / n_rows
    figures["bits_bytes_per_rna"] = sum(b.bits.nbytes for b in blocks) / n_rows
    figures["code_bytes_per_rna"] = sum(b.code_bytes for b in blocks) / n_rows
    figures["features_per_rna"] = sum(len(b.features) for b in blocks) / n_rows
    truth = ask_all(search, queries)
    figures["exact_ms_p50"] = 1e3 * float(np.median(truth.s))
    figures |= ask(search, queries, truth).figures("one_thread")
    n = os.cpu_count() or 1
    begun_s = time.perf_counter()
    search.close()
    files = BlockFolder(folder / "blocks", "bench", PooledBlock)
    threaded = PooledSearch(JACCARD, idf, folder=files, n_threads=n)
    changes = np.ones(options.size, np.int64)
    changes[:GROUP] = 2
    missing = threaded.index.recall(np.arange(options.size), changes)
    figures["open_again_s"] = time.perf_counter() - begun_s
    figures["missing_after_opening"] = len(missing)
    figures |= ask(threaded, queries, truth).figures(f"{n}_threads")
    threaded.close()
    return figures, queries


def run_peer(
    engine: str,
    options: argparse.Namespace,
    real: Real,
    queries: list[PooledCode],
    idf: np.ndarray,
) -> dict[str, Any] | None:
    """Returns an engine beside ours, asked the same; None if it fails."""
    size = min(options.size, options.peer_size, PEERS[engine])
    search, rows = PooledSearch(COSINE, idf), []
    for start, codes in groups(real, size, len(idf), options.seed):
        search.index.put(range(start, start + len(codes)), 1, codes)
        rows += [search.weigh(code) for code in codes]
    truth = ask_all(search, queries)
    ours = ask(search, queries, truth)
    asked = [search.weigh(query) for query in queries]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npz"
        arrays: dict[str, Any] = {"n_queries": len(asked), "width": len(idf)}
        for prefix, some in (("", rows), ("query_", asked)):
            lengths = [len(each.features) for each in some]
            arrays[f"{prefix}bounds"] = np.cumsum([0, *lengths])
            features = np.concatenate([each.features for each in some])
            arrays[f"{prefix}indices"] = features.astype(np.int64)
            arrays[f"{prefix}values"] = np.concatenate([each.weights for each in some])
        np.savez(path, **arrays)
        script = Path(__file__).parent / "peers" / "sparse_search.py"
        command = [options.peers_python, str(script), engine, str(path)]
        limits = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                command,
                env=os.environ | limits,
                capture_output=True,
                check=True,
                timeout=options.peer_timeout_s,
            )
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            print(f"{engine}: not run: {type(error).__name__}", flush=True)
            return None
    told = json.loads(done.stdout.splitlines()[-1])
    runs = []
    for run in told["runs"]:
        found = []
        for ids, query in zip(run["found"], asked, strict=True):
            mine = np.zeros(len(idf), np.float32)
            mine[query.features] = query.weights
            scores = [float(mine[rows[i].features] @ rows[i].weights) for i in ids]
            found.append(Scored(np.array(ids, np.int64), np.array(scores)))
        times = np.array([run["s"]]), np.array([run["cpu_s"]])
        runs.append((run["setting"], Timed(*times, recall(found, truth))))
    wanted = min(ours.recall, max(timed.recall for _, timed in runs))
    setting, theirs = next(run for run in runs if run[1].recall >= wanted)
    wall = float(np.median(theirs.s) / np.median(ours.s))
    cpu = float(np.median(theirs.cpu_s) / np.median(ours.cpu_s))
    out = {"size": size, "setting": setting, "build_s": told["build_s"][0]}
    out |= {"vs": wall, "vs_cpu": cpu} | ours.figures("ours")
    return out | theirs.figures("theirs")


def main() -> None:
    """Runs it and prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--n-queries", type=int, default=100)
    parser.add_argument("--table", type=Path, action="append", default=[])
    parser.add_argument("--encoded", type=Path, help="folder to keep real codes in")
    parser.add_argument(
        "--peers-python",
        help="interpreter of an environment with bench/requirements-search.txt",
    )
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--peer-size", type=int, default=100_000)
    parser.add_argument("--peer-timeout-s", type=float, default=1800)
    parser.add_argument("--only-peers", action="store_true")
    parser.add_argument("--folder", type=Path, help="for the index; not in memory")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    name = ribolex_bundle.DEFAULT_DICTIONARY
    dictionary = FolderRegistry(ribolex_bundle.dictionaries_path()).get(name)
    real = read_real(options, dictionary)
    figures: dict[str, Any] = {}
    idf = dictionary.features.idf
    if options.only_peers:
        chosen = real.queries[: options.n_queries]
        queries = pooled(real, chosen, np.zeros(len(chosen)), len(idf), 0)
    else:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            ours, queries = run_ours(options, real, dictionary, Path(folder))
        figures |= {key: round(x, 4) for key, x in ours.items()}
        print(json.dumps(figures), flush=True)
    ratios = {}
    for engine in options.peers if options.peers_python else ():
        found = run_peer(engine, options, real, queries, idf)
        if found is not None:
            ratios[f"vs_{engine}"] = round(found["vs"], 2)
            ratios[f"vs_{engine}_cpu"] = round(found["vs_cpu"], 2)
            figures[engine] = {
                key: round(x, 4) if isinstance(x, float) else x
                for key, x in found.items()
            }
            print(engine, json.dumps(figures[engine]), flush=True)
    setting = {
        "size": options.size,
        "n_queries": options.n_queries,
        "peer_size": options.peer_size,
        "n_real": len(real.others),
        "dictionary": dictionary.ref,
        "load_average": os.getloadavg()[0],
    }
    line = {"bench": "search", "setting": setting, "ratios": ratios}
    print(json.dumps(line | {"figures": figures}))


if __name__ == "__main__":
    main()

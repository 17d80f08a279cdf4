"""How long feature queries take in a collection of the sample, replicated with noise.

Each copy of a real RNA has its values multiplied by exp(N(0, 0.1)) and one firing in
ten left out. The collection is asked in this process, on one thread, as a server asks
it: the first page of 100 RNAs, and the count of all that match. Codes are read from
SQLite's file, which the system has in memory by then. Times are processor time. The
ratios are the time of a query that has all codes read, over that of the others.

    python bench/feature_queries.py [--size 17000 --size 100000] [--n-real 2000]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from nearest_family import encode

import ribolex_bundle
from ribolex.dictionary import Codes, Dictionary
from ribolex.lm import load_lm
from ribolex.registry import FolderRegistry
from ribolex.rna import Rna, read_rnas
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.feature_query import parse
from ribolex.server.index.feature_search import FeatureScan, FeatureSearch
from ribolex.server.index.intake import Encoded
from ribolex.server.index.measure import SearchMeasure

QUERIES = {
    "a feature": "2775",
    "a feature, strong": "2775>8",
    "one or the other, not a third": "2775>4 or 2741>12, not 1484",
    "two in order, not a third": "2775 within 30 nt before 2741, not 5",
    "three in a chain": "2775 before 2741 within 9 of 1484",
    "not near": "2741>4 not within 40 of 2775",
    "all codes read": "2741 within 0 of start before start",
}
ALL_READ = "all codes read"
"""Nothing is before the first nucleotide, but only codes tell."""
REPEATS = 5


def main() -> None:
    """Builds collections, asks them, and prints a table and one JSON line."""
    options = read_options()
    registry = FolderRegistry(ribolex_bundle.dictionaries_path())
    # Without an alignment model no positional index is built beside it.
    dictionary = replace(registry.get(options.name), alignment=None)
    real = read_sample(dictionary, options.n_real)
    figures, ratios = {}, {}
    for size in options.size or [17_000, 100_000]:
        with tempfile.TemporaryDirectory() as name:
            collection = build(Path(name), dictionary, real, size)
            found = ask(collection, size)
            collection.close()
        figures[f"{size}"] = found
        slowest = found[ALL_READ]["count_ms"]
        for query, one in found.items():
            ratios[f"{query}, {size}"] = slowest / one["count_ms"]
    setting = {"n_real": len(real), "threads": 1, "dictionary": dictionary.ref}
    line = {"bench": "feature_queries", "setting": setting, "ratios": ratios}
    print(json.dumps({**line, "figures": figures}))


def read_sample(dictionary: Dictionary, n_real: int) -> list[Encoded]:
    """Returns encoded RNAs of the sample, drawn evenly."""
    rnas = list(read_rnas(ribolex_bundle.sample_path()))
    chosen = [rnas[i] for i in np.linspace(0, len(rnas) - 1, n_real).astype(int)]
    lm = load_lm(ribolex_bundle.model_path())
    codes = encode(lm, dictionary, chosen)
    return [Encoded(rna, one, 0.0) for rna, one in zip(chosen, codes, strict=True)]


def grown(real: Sequence[Encoded], size: int) -> Iterator[Encoded]:
    """Yields as many RNAs, copies with noise once the real ones are used up."""
    random = np.random.default_rng(0)
    for i in range(size):
        one = real[i % len(real)]
        copy = Rna(f"{one.rna.name} {i}", one.rna.sequence, None, one.rna.metadata)
        yield Encoded(
            copy, noisy(one.codes, random) if i >= len(real) else one.codes, 0
        )


def noisy(codes: Codes, random: np.random.Generator) -> Codes:
    """Returns codes with other values and fewer firings."""
    kept = random.random(len(codes.values)) > 0.1
    factors = np.exp(random.normal(0, 0.1, len(codes.values)))
    before = np.concatenate([[0], np.cumsum(kept)])
    values = (codes.values * factors)[kept].astype(np.float32)
    return Codes(before[codes.indptr], codes.indices[kept], values, codes.n_features)


def build(
    folder: Path, dictionary: Dictionary, real: Sequence[Encoded], size: int
) -> Collection:
    """Returns a collection of replicated RNAs."""
    facts = Facts.of("bench", dictionary, SearchMeasure())
    Collection.create(folder, facts)
    collection = Collection(folder)
    collection.load(dictionary)
    rnas = grown(real, size)
    while part := list(islice(rnas, 1000)):
        collection.upsert(part)
    return collection


def ask(collection: Collection, size: int) -> dict[str, dict[str, float]]:
    """Returns what each query takes; prints it."""
    print(f"\n| {size:,} RNAs | match | codes read | first 100, ms | count, ms |")
    print("|---|---|---|---|---|")
    out = {}
    for name, text in QUERIES.items():
        page_ms, _ = timed(collection, text, 100, is_counting=False)
        count_ms, scan = timed(collection, text, 1, is_counting=True)
        out[name] = {"page_ms": page_ms, "count_ms": count_ms}
        print(
            f"| {name}: `{text}` | {scan.n_matching:,} | {scan.n_read:,} "
            f"| {page_ms:.1f} | {count_ms:.1f} |"
        )
    return out


def timed(
    collection: Collection, text: str, limit: int, *, is_counting: bool
) -> tuple[float, FeatureScan]:
    """Returns the median processor time in ms, but for the first, and a scan."""
    times = []
    for _ in range(REPEATS + 1):
        begun_s = time.process_time()
        search = FeatureSearch(parse(text), limit, 10**6, is_counting=is_counting)
        scan = FeatureScan(search)
        while not collection.step(scan):
            pass
        times.append(1000 * (time.process_time() - begun_s))
    return float(np.median(times[1:])), scan


def read_options() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, action="append")
    parser.add_argument("--n-real", type=int, default=2000)
    parser.add_argument("--name", default="ribolex-mini-l6")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""How often an RNA's nearest neighbour is of its family: codes against k-mers.

Every RNA of the bundled sample whose family has another member is a query against all
others, by the likeness that a fast search uses (pooled codes, exact) and by the cosine
of k-mer counts. Families that the language model and the dictionary were trained on
are told apart from families that neither ever saw. Figures are averaged over families,
so that large families do not decide.

    python bench/nearest_family.py [--model PATH] [--dictionaries PATH] [--name NAME]
"""

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from scipy import sparse

import ribolex_bundle
from ribolex.dictionary import Codes, Dictionary
from ribolex.lm import LanguageModel, load_lm
from ribolex.registry import FolderRegistry
from ribolex.rna import Rna, read_rnas
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.pooled import PooledSearch

CHUNK = 256
BLOCK = 1024
VARIANTS = {
    "default": SearchMeasure(),
    "strongest 4": SearchMeasure(keep_strongest=4),
    "strongest 8": SearchMeasure(keep_strongest=8),
    "idf": SearchMeasure(idf_power=1.0),
    "max": SearchMeasure(pooling="max"),
    "cosine": SearchMeasure(likeness="cosine"),
    "max, idf^0.5, cosine": SearchMeasure("max", idf_power=0.5, likeness="cosine"),
}


def encode(
    lm: LanguageModel, dictionary: Dictionary, rnas: Sequence[Rna]
) -> list[Codes]:
    """Returns the codes of each RNA, one row a nucleotide."""
    identity, out = dictionary.identity, []
    for start in range(0, len(rnas), CHUNK):
        tokens = lm.prepare([rna.sequence for rna in rnas[start : start + CHUNK]])
        states = lm.hidden(tokens, identity.layer, identity.hook)
        top = dictionary.sae.encode(states)
        codes = Codes.from_topk(
            top.indices.numpy(), top.values.numpy(), dictionary.sae.n_features
        )
        ends = np.cumsum([0, *(len(t) - 2 for t in tokens)])
        out += [
            codes.slice(int(a), int(b)) for a, b in zip(ends, ends[1:], strict=False)
        ]
    return out


def nearest_by_codes(
    codes: Sequence[Codes], dictionary: Dictionary, measure: SearchMeasure
) -> np.ndarray:
    """Returns the index of each RNA's nearest other one, as search compares them."""
    pooled, out = [measure.pool(each) for each in codes], []
    search = PooledSearch(measure, dictionary.features.idf)
    search.index.put(range(len(pooled)), 0, pooled)
    for i, code in enumerate(pooled):
        found = search.nearest(search.weigh(code), len(pooled), exact=True)
        scores = np.zeros(len(pooled))
        scores[found.ids] = found.scores
        scores[i] = -1
        out.append(scores.argmax())
    return np.array(out)


def kmer_vectors(rnas: Sequence[Rna], k: int) -> sparse.csr_matrix:
    """Returns the L2-normalised counts of k-mers over A, C, G, U."""
    number = {"".join(x): i for i, x in enumerate(product("ACGU", repeat=k))}
    rows, columns = [], []
    for row, rna in enumerate(rnas):
        for start in range(len(rna.sequence) - k + 1):
            column = number.get(rna.sequence[start : start + k])
            if column is not None:
                rows.append(row)
                columns.append(column)
    shape = (len(rnas), 4**k)
    counts = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape)
    counts.sum_duplicates()
    norms = np.sqrt(counts.multiply(counts).sum(axis=1)).A1
    return sparse.diags(1 / np.maximum(norms, 1e-9)) @ counts


def nearest_by_cosine(vectors: sparse.csr_matrix) -> np.ndarray:
    """Returns the index of each row's nearest other row."""
    transposed, out = vectors.T.tocsr(), []
    for start in range(0, vectors.shape[0], BLOCK):
        scores = (vectors[start : start + BLOCK] @ transposed).toarray()
        rows = np.arange(len(scores))
        scores[rows, rows + start] = -1
        out.append(scores.argmax(axis=1))
    return np.concatenate(out)


def family_rate(found: np.ndarray, families: np.ndarray, chosen: np.ndarray) -> float:
    """Returns the share of chosen queries whose neighbour is kin, family by family."""
    hits = families[found] == families
    numbers = {name: i for i, name in enumerate(sorted(set(families[chosen])))}
    groups = np.array([numbers[name] for name in families[chosen]])
    return float((np.bincount(groups, hits[chosen]) / np.bincount(groups)).mean())


def main() -> None:
    """Runs the benchmark and prints one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--dictionaries", type=Path, default=None)
    parser.add_argument("--name", default=None, help="dictionary; default: the first")
    options = parser.parse_args()
    model = options.model or ribolex_bundle.model_path()
    registry = FolderRegistry(
        options.dictionaries or ribolex_bundle.dictionaries_path()
    )
    name = options.name or registry.list()[0].name
    lm, dictionary = load_lm(model), registry.get(name)
    trained = set((model / "families.txt").read_text().split())
    rnas = list(read_rnas(ribolex_bundle.sample_path()))
    families = np.array([rna.metadata["family_acc"] for rna in rnas])
    names, counts = np.unique(families, return_counts=True)
    has_kin = np.isin(families, names[counts > 1])
    is_new = has_kin & ~np.isin(families, list(trained))
    groups = {"all": has_kin, "trained": has_kin & ~is_new, "never seen": is_new}
    codes = encode(lm, dictionary, rnas)
    neighbours = {
        f"codes: {variant}": nearest_by_codes(codes, dictionary, measure)
        for variant, measure in VARIANTS.items()
    }
    for k in (4, 6):
        neighbours[f"{k}-mers"] = nearest_by_cosine(kmer_vectors(rnas, k))
    print(f"{lm.name}, {dictionary.ref}, {len(rnas)} RNAs; mean over families")
    print(f"{'':28}" + "".join(f"{group:>12}" for group in groups))
    figures = {}
    for space, found in neighbours.items():
        rates = {g: family_rate(found, families, rows) for g, rows in groups.items()}
        figures |= {f"{space}, {group}": round(x, 4) for group, x in rates.items()}
        print(f"{space:28}" + "".join(f"{rate:12.3f}" for rate in rates.values()))
    setting = {
        "model": lm.name,
        "dictionary": dictionary.ref,
        "n_rnas": len(rnas),
        "n_queries": {group: int(rows.sum()) for group, rows in groups.items()},
        "n_families": {g: len(set(families[rows])) for g, rows in groups.items()},
    }
    ratios = {
        f"codes_vs_4mers_{group.replace(' ', '_')}": round(
            figures[f"codes: default, {group}"] / figures[f"4-mers, {group}"], 3
        )
        for group in groups
    }
    line = {"bench": "nearest_family", "setting": setting}
    print(json.dumps({**line, "ratios": ratios, "figures": figures}))


if __name__ == "__main__":
    main()

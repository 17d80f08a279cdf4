"""Are E-values what they say? False hits counted, beside those to be expected.

    python bench/e_values.py [--registry FOLDER --dictionary NAME] [--rnas TABLE]

Reversed RNAs, and RNAs shuffled so that neighbouring letters stay (Altschul and
Erickson 1985), are related to nothing: every hit is false. Each is aligned with all
targets by the dictionary's codes and letters, as an exhaustive search does. A hit of
E-value E or less should come up E times a query. By default queries and targets are
drawn from the sample in the box. Writes a plot if --plot names a file.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import ribolex_bundle
from ribolex.dictionary import AlignmentModel, Dictionary
from ribolex.lm import LanguageModel, load_lm
from ribolex.registry import FolderRegistry
from ribolex.rna import read_rnas
from ribolex.rna.extreme_value import FalseHits, Search, count_false_hits
from ribolex.rna.local_alignment import NucleotideArrays, align_locally
from ribolex.rna.shuffle import shuffle
from ribolex.trainer.lineage import encode_rnas

E_VALUES = 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0
_RNAS_A_PART = 256


def main() -> None:
    """Counts, prints a table and one JSON line."""
    given = _arguments()
    registry = FolderRegistry(given.registry)
    dictionary = registry.get(given.dictionary)
    model = dictionary.alignment
    if model is None:
        raise SystemExit(f"{dictionary.ref} has no alignment model")
    lm = load_lm("bundled")
    generator = np.random.default_rng(given.seed)
    rnas = [rna.sequence for rna in read_rnas(given.rnas)]
    rnas = [rna for rna in dict.fromkeys(rnas) if len(rna) <= given.longest]
    order = generator.permutation(len(rnas))
    targets = [rnas[i] for i in order[: given.targets]]
    drawn = [rnas[order[i % len(rnas)]] for i in range(1, given.queries // 2 + 1)]
    kinds = {
        "reversed": [rna[::-1] for rna in drawn],
        "shuffled": [shuffle(rna, generator) for rna in drawn],
    }
    theirs = _arrays(lm, dictionary, model, targets)
    counts: dict[str, list[FalseHits]] = {}
    n_pairs, spent_s = 0, 0.0
    for kind, queries in kinds.items():
        begun_s = time.process_time()
        counts[kind] = count_false_hits(
            model.statistics,
            _searches(lm, dictionary, model, queries, theirs),
            E_VALUES,
        )
        spent_s += time.process_time() - begun_s
        n_pairs += len(queries) * len(targets)
    counts["both"] = [
        FalseHits(a.e_value, a.expected + b.expected, a.observed + b.observed)
        for a, b in zip(counts["reversed"], counts["shuffled"], strict=True)
    ]
    _print(counts)
    if given.plot:
        _plot(counts, given.plot)
    figures = {
        f"{kind} at E {each.e_value:g}": round(each.ratio, 3)
        for kind, found in counts.items()
        for each in found
    }
    print(
        json.dumps(
            {
                "bench": "e_values",
                "setting": {
                    "dictionary": dictionary.ref,
                    "queries": len(drawn) * 2,
                    "targets": len(targets),
                    "baseline": "the number that the E-value says",
                    "threads": 1,
                },
                "ratios": {
                    "worst": max(
                        max(x.ratio, 1 / x.ratio if x.ratio else float("inf"))
                        for x in counts["both"]
                    )
                },
                "figures": figures | {"us_a_pair": round(1e6 * spent_s / n_pairs, 2)},
            }
        )
    )


def _searches(
    lm: LanguageModel,
    dictionary: Dictionary,
    model: AlignmentModel,
    queries: Sequence[str],
    targets: NucleotideArrays,
) -> Iterator[Search]:
    for start in range(0, len(queries), _RNAS_A_PART):
        ours = _arrays(lm, dictionary, model, queries[start : start + _RNAS_A_PART])
        for i in range(len(ours)):
            one = ours.take(np.array([i]))
            found = align_locally(one, targets, model)
            yield Search(found.scores, int(one.lengths[0]), targets.lengths)


def _arrays(
    lm: LanguageModel,
    dictionary: Dictionary,
    model: AlignmentModel,
    sequences: Sequence[str],
) -> NucleotideArrays:
    codes = encode_rnas(lm, dictionary.sae, sequences, dictionary.identity)
    return NucleotideArrays.of_sequences(sequences, model.vectors(codes))


def _print(counts: dict[str, list[FalseHits]]) -> None:
    print(f"{'E-value':>8} {'kind':>9} {'expected':>10} {'observed':>9} {'ratio':>6}")
    for kind, found in counts.items():
        for each in found:
            print(
                f"{each.e_value:8g} {kind:>9} {each.expected:10.0f} "
                f"{each.observed:9d} {each.ratio:6.2f}"
            )


def _plot(counts: dict[str, list[FalseHits]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 4.2), layout="constrained")
    expected = np.array([each.expected for each in counts["both"]])
    axes.fill_between(
        expected, expected / 2, expected * 2, color="0.9", label="within a factor of 2"
    )
    axes.plot(expected, expected, color="0.5", linewidth=1)
    for kind, marker in (("reversed", "o"), ("shuffled", "s")):
        found = counts[kind]
        axes.plot(
            [2 * each.expected for each in found],
            [max(2 * each.observed, 0.5) for each in found],
            marker=marker,
            label=f"{kind} queries",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("false hits expected, 10,000 queries")
    axes.set_ylabel("false hits observed")
    axes.legend(frameon=False)
    figure.savefig(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    box = Path(ribolex_bundle.__file__).parent
    add = parser.add_argument
    add("--registry", type=Path, default=box / "dictionaries")
    add("--dictionary", default=ribolex_bundle.DEFAULT_DICTIONARY)
    add("--rnas", type=Path, default=next((box / "sample").glob("*.tsv.gz")))
    add("--queries", type=int, default=1000, help="half reversed, half shuffled")
    add("--targets", type=int, default=1000)
    add("--longest", type=int, default=512, help="RNA that is used")
    add("--seed", type=int, default=0)
    add("--plot", type=Path, help="file for a plot: .svg or .png")
    return parser.parse_args()


if __name__ == "__main__":
    main()

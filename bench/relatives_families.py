"""Which way of searching finds an RNA's family: every method on the same questions.

Queries are members of families that the model never saw; what should be found are the
other members among RNAs of all families. In remote cases those that share 60 % or more
of the aligned letters with the query are taken out. Figures are means over families.

Times are processor time of one thread, all queries in one run, shared out.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from searching import codes, letters, programs, relatives
from searching.cases import Setting, add_options, read_setting
from searching.figures import COLUMNS, measure, measure_classes, row
from searching.ranking import Kept, Ranking

from ribolex.dictionary import AlignmentModel, Dictionary
from ribolex.lm import load_lm
from ribolex.registry import FolderRegistry
from ribolex.rna.local_alignment import LETTERS, NucleotideArrays, local_scores
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.relatives import Sought
from ribolex.trainer.pretraining.evaluation import random_twin

WORDS = (4, 5, 6, 7)
DIAGONALS = [(k, power) for k in (4, 5) for power in (1.0, 2.0)]
TWIN = "random twin"
MAX = SearchMeasure("max", idf_power=0.5)
COUNT = SearchMeasure("count", idf_power=0.5)
POOLED: list[tuple[str, SearchMeasure, codes.Likeness]] = [
    ("max, log1p, idf^0.5, all 16", MAX, "cosine"),
    ("weighted Jaccard", MAX, "weighted Jaccard"),
    ("containment", MAX, "containment"),
    ("idf^0", replace(MAX, idf_power=0.0), "cosine"),
    ("idf^1", replace(MAX, idf_power=1.0), "cosine"),
    ("idf^1.5", replace(MAX, idf_power=1.5), "cosine"),
    ("idf^2", replace(MAX, idf_power=2.0), "cosine"),
    ("sqrt", replace(MAX, damping="sqrt"), "cosine"),
    ("undamped", replace(MAX, damping="none"), "cosine"),
    ("best 4", replace(MAX, keep_strongest=4), "cosine"),
    ("best 8", replace(MAX, keep_strongest=8), "cosine"),
    ("mean", replace(MAX, pooling="mean"), "cosine"),
    ("mean, undamped", replace(MAX, pooling="mean", damping="none"), "cosine"),
    ("mean, sqrt", replace(MAX, pooling="mean", damping="sqrt"), "cosine"),
    ("mean, sqrt, idf^1", SearchMeasure("mean", None, "sqrt", 1.0), "cosine"),
    ("count", COUNT, "cosine"),
    ("count, sqrt", replace(COUNT, damping="sqrt"), "cosine"),
    ("count, idf^1", replace(COUNT, idf_power=1.0), "cosine"),
    (
        "count, idf^1, weighted Jaccard",
        replace(COUNT, idf_power=1.0),
        "weighted Jaccard",
    ),
    ("idf^1, weighted Jaccard", replace(MAX, idf_power=1.0), "weighted Jaccard"),
    ("count, weighted Jaccard", COUNT, "weighted Jaccard"),
    ("count, idf^0, weighted Jaccard (default)", SearchMeasure(), "weighted Jaccard"),
    (
        "count, sqrt, weighted Jaccard",
        replace(COUNT, damping="sqrt"),
        "weighted Jaccard",
    ),
    (
        "count, best 8, weighted Jaccard",
        replace(COUNT, keep_strongest=8),
        "weighted Jaccard",
    ),
]


def main() -> None:
    """Runs what is not kept yet, prints tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument(
        "--keep",
        type=Path,
        help="folder of results; a run on the same tables goes on from them",
    )
    options = parser.parse_args()
    setting = read_setting(options)
    with tempfile.TemporaryDirectory() as folder:
        kept = Kept(options.keep or Path(folder))
        found = rank_by_letters(setting, kept)
        found |= rank_by_codes(setting, kept, options)
    tables = report(setting, found)
    if options.parasail_python:
        check_alignment(setting, options.parasail_python)
    setting_line = {
        "n_database": len(setting.cases.database),
        "n_nucleotides": sum(map(len, setting.cases.database)),
        "n_near": len(setting.cases.near),
        "n_remote": len(setting.cases.remote),
        "dictionary": options.name,
    }
    line = {"bench": "relatives_families", "setting": setting_line, "figures": tables}
    print(json.dumps(line))


def rank_by_letters(setting: Setting, kept: Kept) -> dict[str, Ranking]:
    """Returns the rankings that need no model."""
    found = kept.recall(
        letters.SMITH_WATERMAN, partial(letters.smith_waterman, setting)
    )
    for name, program in programs.PROGRAMS.items():
        if programs.is_here(program):
            found |= kept.recall([name], partial(_run, name, program, setting))
        else:
            print(f"{name}: {program.needs} is not installed")
    for k in WORDS:
        name = letters.words_name(k)
        found |= kept.recall([name], partial(letters.words, setting, k))
    for k, power in DIAGONALS:
        name = letters.diagonals_name(k, power)
        found |= kept.recall([name], partial(letters.diagonals, setting, k, power))
    return found


def rank_by_codes(
    setting: Setting, kept: Kept, options: argparse.Namespace
) -> dict[str, Ranking]:
    """Returns the rankings by the model, its dictionary, and a random twin's."""
    folder = kept.folder / "encoded"
    lm = load_lm(options.model, precision=options.precision)
    dictionary = FolderRegistry(options.dictionaries).get(options.name)
    reader = codes.Reader.of_dictionary(dictionary)
    if not codes.is_encoded(folder, reader.name):
        codes.encode(lm, [reader], setting.cases.database, folder)
    name = "dense activations, mean, cosine"
    found = kept.recall(
        [name], lambda: {name: codes.dense_means(setting, folder, lm.name)}
    )
    found |= _pool(setting, kept, reader.name, POOLED)
    if dictionary.alignment is None:
        print(f"{dictionary.ref}: has no alignment model")
    else:
        found |= rank_as_served(setting, kept, dictionary, dictionary.alignment)
    if not codes.is_encoded(folder, TWIN):
        twin = random_twin(lm, precision=options.precision)
        own = codes.fit_reader(twin, TWIN, reader, setting.training)
        codes.encode(twin, [own], setting.cases.database, folder)
    found |= _pool(setting, kept, TWIN, POOLED[:1])
    for coded in (reader.name, TWIN):
        names = f"{coded}, aligned", f"{coded} and letters, aligned"
        found |= kept.recall(names, partial(codes.aligned, setting, folder, coded))
    return found


def rank_as_served(
    setting: Setting, kept: Kept, dictionary: Dictionary, model: AlignmentModel
) -> dict[str, Ranking]:
    """Returns the rankings of `sensitive` and `exhaustive`, and of what they lack."""
    encoded = codes.Encoded.read(kept.folder / "encoded", dictionary.name)
    database = setting.cases.database
    queries = [
        Sought.of(database[i], encoded.of(i), excluded=int(i))
        for i in setting.cases.queries
    ]
    found = {}
    for text, variant in relatives.SERVED.items():
        name = f"{dictionary.name}, {text}"
        serve = partial(_serve, name, model, variant, (database, encoded, queries))
        found |= kept.recall([name], serve)
    return found


def _serve(
    name: str,
    model: AlignmentModel,
    variant: relatives.Variant,
    asked: tuple[Sequence[str], codes.Encoded, Sequence[Sought]],
) -> dict[str, Ranking]:
    database, encoded, queries = asked
    built = relatives.build(relatives.weaken(model, variant), database, encoded)
    return {name: relatives.rank_all(built.search, queries, variant)}


def _pool(
    setting: Setting,
    kept: Kept,
    reader: str,
    variants: Sequence[tuple[str, SearchMeasure, codes.Likeness]],
) -> dict[str, Ranking]:
    names = [f"{reader}, pooled: {text}" for text, _, _ in variants]
    encoded = codes.Encoded.read(kept.folder / "encoded", reader)
    found = {}
    for name, (_, how, likeness) in zip(names, variants, strict=True):
        found |= kept.recall(
            [name],
            partial(_pool_one, name, setting, encoded, how, likeness),
        )
    return found


def _pool_one(
    name: str,
    setting: Setting,
    encoded: codes.Encoded,
    how: SearchMeasure,
    likeness: codes.Likeness,
) -> dict[str, Ranking]:
    return {name: codes.pooled(setting, encoded, how, likeness)}


def _run(name: str, program: programs.Program, setting: Setting) -> dict[str, Ranking]:
    found = programs.run_program(program, setting.queries, setting.cases.database)
    return {name: found.ranking}


def check_alignment(setting: Setting, python: Path) -> None:
    """Prints how far our alignment scores are from parasail's, for some queries."""
    chosen = setting.cases.queries[:: max(1, len(setting.cases.queries) // 10)]
    arrays = NucleotideArrays.of_sequences(setting.cases.database)
    (ours,) = local_scores(arrays.take(chosen), arrays, [LETTERS])
    sequences = [setting.cases.database[i] for i in chosen]
    theirs, _ = programs.parasail(
        python, sequences, setting.cases.database, programs.PARASAIL_ROUTINES[0]
    )
    furthest = float(np.abs(ours - theirs).max())
    print(f"\nparasail, {ours.size:,} pairs: scores differ by {furthest:.1g} at most")


def report(setting: Setting, found: dict[str, Ranking]) -> dict[str, dict[str, float]]:
    """Prints the tables and returns their figures."""
    figures: dict[str, dict[str, float]] = {}
    for kind in ("near", "remote"):
        if not getattr(setting.cases, kind):
            continue
        print(f"\n| {kind} | {' | '.join(COLUMNS)} | ms a query |")
        print("|---|" + "---|" * (len(COLUMNS) + 1))
        for name, ranking in found.items():
            numbers = measure(setting, ranking, kind)
            print(row(name, numbers, ranking.ms_a_query))
            told = {
                f"{kind} {column}": round(x, 4)
                for column, x in zip(COLUMNS, numbers, strict=True)
            }
            figures.setdefault(name, {}).update(told)
        _report_classes(setting, found, kind)
    for name, ranking in found.items():
        if not np.isnan(ranking.seconds):
            figures[name]["ms_a_query"] = round(ranking.ms_a_query, 2)
    return figures


def _report_classes(setting: Setting, found: dict[str, Ranking], kind: str) -> None:
    tables = {name: measure_classes(setting, r, kind) for name, r in found.items()}
    classes = {c: n for c, (n, _) in next(iter(tables.values())).items()}
    heads = (f"{name} ({n})" for name, n in classes.items())
    print(f"\n| {kind}, mAP by class (families) | {' | '.join(heads)} |")
    print("|---|" + "---|" * len(classes))
    for name, table in tables.items():
        print(row(name, [table[c][1].map_at_100 for c in classes]))


if __name__ == "__main__":
    main()

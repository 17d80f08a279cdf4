"""How fast and how well relatives are found: Ribolex beside four other programs.

The same queries against the same database, one thread each; all queries in one run, so
that starting is shared out. Times are processor time over the number of queries. The
ratios are another program's time over ours, once without and once with the encoding of
the queries, which RNAs that are in a collection do not need.

By default a small part of the sample in the box, and queries of families that the model
never saw. With the tables of bench/relatives_families.py remote cases come in; `--size`
makes the database larger.
"""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from searching import codes, programs, relatives
from searching.cases import Setting, add_options, read_setting
from searching.figures import measure, row
from searching.growth import Grown, grow
from searching.ranking import Ranking

from ribolex.dictionary import AlignmentModel, Dictionary
from ribolex.lm import LanguageModel, load_lm
from ribolex.registry import FolderRegistry
from ribolex.rna.local_alignment import correct_for_length
from ribolex.server.index.relatives import Sought

OURS = "Ribolex, sensitive"
PARASAIL = "full Smith-Waterman (parasail)"
SHORT = {
    PARASAIL: "full_sw",
    "blastn, words of 7": "blastn",
    "blastn, words of 7, 5/-4": "blastn_distant",
    "nhmmer, single query": "nhmmer",
    "MMseqs2, words of 6": "mmseqs2",
}
"""What is run, and its name in the JSON line."""


class Answer(NamedTuple):
    """What one method gave."""

    ranking: Ranking
    build_s: float
    """Processor time of its form of the database; nan if it has none."""


def main() -> None:
    """Measures every method and prints a table and one JSON line."""
    options = read_options()
    dictionary = FolderRegistry(options.dictionaries).get(options.name)
    if dictionary.alignment is None:
        raise SystemExit(f"{dictionary.ref} has no alignment model: see --dictionaries")
    setting = read_setting(options)
    grown = grow_database(setting, options.size)
    print(f"{len(grown.sequences):,} RNAs, {grown.n_real:,} of them real")
    with tempfile.TemporaryDirectory() as name:
        folder = options.encoded or Path(name)
        ours, index = run_ours(setting, grown, dictionary, folder, options)
    heads = [f"{kind} {x}" for kind in _kinds(setting) for x in ("P@1", "mAP")]
    print(f"\n| | {' | '.join(heads)} | ms a query |\n|---|{'---|' * (len(heads) + 1)}")
    show(setting, OURS, ours)
    answers = {OURS: ours, **run_others(setting, grown, options.parasail_python)}
    line = {
        "bench": "relatives",
        "setting": describe(setting, grown) | {"dictionary": dictionary.ref},
        "ratios": compare(answers, index["encoding ms_a_query"]),
        "index": index,
        "figures": {name: tell(setting, answer) for name, answer in answers.items()},
    }
    print(json.dumps(line))


def read_options() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.set_defaults(queries=40, others=500)
    parser.add_argument(
        "--size", type=int, default=0, help="RNAs in the database; 0: the real ones"
    )
    parser.add_argument(
        "--encoded",
        type=Path,
        help="folder of codes, FOLDER/encoded of bench/relatives_families.py on the "
        "same tables; what is not there is encoded and kept",
    )
    return parser.parse_args()


def grow_database(setting: Setting, size: int) -> Grown:
    """Returns the cases' database, then pieces of RNAs of training families."""
    database = setting.cases.database
    trained = set(setting.training)
    is_stranger = np.array([sequence in trained for sequence in database])
    for case in (*setting.cases.near, *setting.cases.remote):
        is_stranger[case.relatives] = is_stranger[case.excluded] = False
    return grow(database, np.flatnonzero(is_stranger), size or len(database))


def run_ours(
    setting: Setting,
    grown: Grown,
    dictionary: Dictionary,
    folder: Path,
    options: argparse.Namespace,
) -> tuple[Answer, dict[str, float]]:
    """Returns what Ribolex gave, and what its index and the encoding cost."""
    lm = load_lm(options.model, precision=options.precision)
    reader = codes.Reader.of_dictionary(dictionary)
    if not codes.is_encoded(folder, reader.name):
        codes.encode(lm, [reader], setting.cases.database, folder)
    encoded = codes.Encoded.read(folder, reader.name)
    model: AlignmentModel = dictionary.alignment  # type: ignore[assignment]
    built = relatives.build(model, grown.sequences, grown.codes(encoded))
    queries = [
        Sought.of(grown.sequences[i], encoded.of(i), excluded=int(i))
        for i in map(int, setting.cases.queries)
    ]
    ranking = relatives.rank_all(built.search, queries, relatives.Variant())
    n = sum(map(len, grown.sequences))
    index = {
        "bytes_a_nucleotide": built.index_bytes,
        "vector_bytes_a_nucleotide": built.vector_bytes,
        "nucleotides_a_second": n / built.build_s,
        "encoding ms_a_query": time_encoding(lm, reader, setting.queries),
    }
    answer = Answer(ranking, built.build_s)
    return answer, {name: round(x, 2) for name, x in index.items()}


def time_encoding(lm: LanguageModel, reader: codes.Reader, queries: list[str]) -> float:
    """Returns the processor time of encoding a query, in ms."""
    with tempfile.TemporaryDirectory() as name:
        codes.encode(lm, [reader], queries[:1], Path(name))
        return 1000 * codes.encode(lm, [reader], queries, Path(name)) / len(queries)


def run_others(
    setting: Setting, grown: Grown, parasail: Path | None
) -> dict[str, Answer]:
    """Returns what every other program gave that is installed."""
    answers = {}
    for name in SHORT:
        if name == PARASAIL:
            if parasail is None:
                print(f"{name}: give --parasail-python")
                continue
            answers[name] = run_parasail(setting, grown, parasail)
        elif programs.is_here(programs.PROGRAMS[name]):
            program = programs.PROGRAMS[name]
            found = programs.run_program(program, setting.queries, grown.sequences)
            answers[name] = Answer(found.ranking, found.build_s)
        else:
            print(f"{name}: {programs.PROGRAMS[name].needs} is not installed")
            continue
        show(setting, name, answers[name])
    return answers


def run_parasail(setting: Setting, grown: Grown, python: Path) -> Answer:
    """Returns full alignment of letters, over the logarithm of the length."""
    routine = programs.PARASAIL_ROUTINES[0]
    scores, seconds = programs.parasail(
        python, setting.queries, grown.sequences, routine
    )
    lengths = np.array([len(sequence) for sequence in grown.sequences])
    correct = partial(correct_for_length, lengths=lengths)
    return Answer(Ranking.of_scores(map(correct, scores), seconds), float("nan"))


def describe(setting: Setting, grown: Grown) -> dict[str, int]:
    """Returns what was asked."""
    return {
        "size": len(grown.sequences),
        "n_real": grown.n_real,
        "n_nucleotides": sum(map(len, grown.sequences)),
        "n_queries": len(setting.cases.queries),
        "n_near": len(setting.cases.near),
        "n_remote": len(setting.cases.remote),
    }


def compare(answers: dict[str, Answer], encoding_ms: float) -> dict[str, float]:
    """Returns the time of each other method over ours."""
    ours = answers[OURS].ranking.ms_a_query
    out = {}
    for name in answers.keys() - {OURS}:
        theirs = answers[name].ranking.ms_a_query
        out[f"vs_{SHORT[name]}"] = round(theirs / ours, 2)
        out[f"vs_{SHORT[name]}, encoding included"] = round(
            theirs / (ours + encoding_ms), 2
        )
    return dict(sorted(out.items()))


def tell(setting: Setting, answer: Answer) -> dict[str, float]:
    """Returns what the JSON line holds of a method."""
    out = {"ms_a_query": answer.ranking.ms_a_query, "build_s": answer.build_s}
    for kind in _kinds(setting):
        found = measure(setting, answer.ranking, kind)
        out |= {f"{kind} P@1": found.p_at_1, f"{kind} mAP": found.map_at_100}
    return {name: round(x, 4) for name, x in out.items() if not np.isnan(x)}


def show(setting: Setting, name: str, answer: Answer) -> None:
    """Prints a line of a Markdown table."""
    found = (measure(setting, answer.ranking, kind) for kind in _kinds(setting))
    numbers = [x for each in found for x in (each.p_at_1, each.map_at_100)]
    print(row(name, numbers, answer.ranking.ms_a_query), flush=True)


def _kinds(setting: Setting) -> list[str]:
    return [kind for kind in ("near", "remote") if getattr(setting.cases, kind)]


if __name__ == "__main__":
    main()

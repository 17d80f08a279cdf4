"""The questions: a database of unique RNAs, near and remote cases, types of families.

With tables of one's own all of it; with the sample in the box near cases only, of the
families that the model never saw, since alignment rows are not in it.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ribolex_bundle
from ribolex.rna import Rna, read_alignment_rows, read_rnas
from ribolex.trainer.pretraining.retrieval import CasePlan, Cases, build_cases

_CLASSES = {
    "riboswitch": "riboswitch",
    "CD-box": "C/D box",
    "HACA-box": "H/ACA box",
    "scaRNA": "scaRNA",
    "miRNA": "miRNA",
    "sRNA": "sRNA",
    "lncRNA": "lncRNA",
    "splicing": "splicing",
    "Cis-reg": "other cis-regulatory",
}
"""The first that is a part of a type's name is its class."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What every method is asked."""

    cases: Cases
    classes: dict[str, str]
    """Of each family that is asked for."""
    training: Sequence[str]
    """All training RNAs, unique; what is fitted is fitted on these."""

    @property
    def queries(self) -> list[str]:
        """Sequences of all queries, in the order of `cases.queries`."""
        return [self.cases.database[i] for i in self.cases.queries]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `read_setting` reads, and those of who is asked."""
    for name, text in (
        ("training", "table of RNAs of families that the model was trained on"),
        ("validation", "table of RNAs of families that it never saw"),
        ("aligned", "table of alignment rows of the latter"),
    ):
        parser.add_argument(f"--{name}", type=Path, help=text)
    parser.add_argument(
        "--queries", type=int, default=400, help="near ones, and as many remote ones"
    )
    parser.add_argument(
        "--others",
        type=int,
        default=13_000,
        help="RNAs in the database that belong to no family asked for; 0 for all",
    )
    parser.add_argument("--model", default="bundled")
    parser.add_argument(
        "--dictionaries", type=Path, default=ribolex_bundle.dictionaries_path()
    )
    parser.add_argument(
        "--name", default=ribolex_bundle.DEFAULT_DICTIONARY, help="of the dictionary"
    )
    parser.add_argument("--precision", default="auto")
    parser.add_argument(
        "--parasail-python",
        type=Path,
        help="interpreter of an environment with bench/requirements-parasail.txt",
    )


def read_setting(options: argparse.Namespace) -> Setting:
    """Returns the questions that the options ask for."""
    given = [options.training, options.validation, options.aligned]
    if any(given) and not all(given):
        raise SystemExit("give --training, --validation and --aligned, or none of them")
    if all(given):
        training, validation = (list(read_rnas(path)) for path in given[:2])
        rows = list(read_alignment_rows(options.aligned))
    else:
        training, validation = _split_sample()
        rows = None
    plan = CasePlan(n_queries=options.queries, n_others=options.others or None)
    cases = build_cases(training, validation, rows, plan)
    classes = {rna.metadata["family_acc"]: _class_of(rna) for rna in validation}
    return Setting(cases, classes, list({rna.sequence: None for rna in training}))


def write_fasta(path: Path, sequences: Sequence[str]) -> None:
    """Writes sequences as DNA, each named by its place."""
    with path.open("w") as stream:
        for place, sequence in enumerate(sequences):
            stream.write(f">{place}\n{sequence.replace('U', 'T')}\n")


def _split_sample() -> tuple[list[Rna], list[Rna]]:
    trained = set((ribolex_bundle.model_path() / "families.txt").read_text().split())
    parts: tuple[list[Rna], list[Rna]] = ([], [])
    for rna in read_rnas(ribolex_bundle.sample_path()):
        parts[rna.metadata["family_acc"] not in trained].append(rna)
    return parts


def _class_of(rna: Rna) -> str:
    parts = rna.metadata.get("type", "").split(";")
    return next((name for part, name in _CLASSES.items() if part in parts), "other")

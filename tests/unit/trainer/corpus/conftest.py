"""Builds corpora in a temporary folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ribolex.rna import Rna, read_rnas
from ribolex.trainer.corpus import (
    PARTS,
    Corpus,
    CorpusOptions,
    build_corpus,
    group_of,
    part_of,
)

Build = Callable[..., Corpus]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Gives a function that makes a corpus of files, with options by name."""

    def run(
        *inputs: Path,
        out: str = "corpus",
        labels: Path | None = None,
        force: bool = False,
        **options: Any,
    ) -> Corpus:
        return build_corpus(
            inputs,
            tmp_path / out,
            CorpusOptions(**{"shortest": 1, **options}),
            lambda _stage, _n_rnas: None,
            labels=labels,
            force=force,
        )

    return run


def rnas_of(corpus: Corpus) -> dict[str, Rna]:
    """Gives the RNAs of all parts by name; no name twice."""
    found = [rna for part in PARTS for rna in read_rnas(corpus.table(part))]
    by_name = {rna.name: rna for rna in found}
    assert len(by_name) == len(found)
    return by_name


def parts_of(corpus: Corpus) -> dict[str, str]:
    """Gives the part of each RNA by its name."""
    return {rna.name: part for part in PARTS for rna in read_rnas(corpus.table(part))}


def group_in(part: str, kind: str, start: int = 0) -> str:
    """Gives the first clan ("clan") or family ("family") from a number in a part."""
    keys = {"clan": "clan", "family": "family_acc"}
    prefix = {"clan": "CL", "family": "RF"}[kind]
    options = CorpusOptions()
    return next(
        name
        for name in (f"{prefix}{i:05d}" for i in range(start, start + 1000))
        if part_of(group_of("", {keys[kind]: name}), options.shares, options.salt)
        == part
    )

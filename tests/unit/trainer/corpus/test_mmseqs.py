"""Held-out RNAs that are like training RNAs go; MMseqs2 itself where it is there."""

import random
import shutil
from pathlib import Path

import pytest
from tests.unit.trainer.corpus.conftest import Build, group_in, parts_of

from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna
from ribolex.trainer.corpus.mmseqs import find_alike

FAKE = """#!/bin/sh
# easy-search QUERIES TARGETS HITS WORK ...
printf '%s\\n' "$@" > "$(dirname "$0")/said"
{body}
"""


def spoil(sequence: str, n_letters: int, generator: random.Random) -> str:
    letters = list(sequence)
    for i in generator.sample(range(len(letters)), n_letters):
        letters[i] = generator.choice([c for c in "ACGU" if c != letters[i]])
    return "".join(letters)


def install(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "mmseqs"
    program.write_text(FAKE.format(body=body))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_best_hit_of_each_query_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = r"printf '1\t2\t0.85\n1\t0\t0.95\n1\t1\t0.95\n0\t1\t0.800\n' > $4"
    install(tmp_path, hits, monkeypatch)
    rnas = [Rna(f"r{i}", "ACGU") for i in range(3)]
    assert find_alike(rnas, rnas, 0.8) == {1: (0, 0.95), 0: (1, 0.8)}
    said = (tmp_path / "said").read_text().split()
    assert said[said.index("--min-seq-id") + 1] == "0.8"


def test_failure_is_told_in_the_words_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "echo working; echo 'no memory' >&2; exit 3", monkeypatch)
    with pytest.raises(InvalidRequestError, match="ended with 3 and said: no memory"):
        find_alike([Rna("a", "ACGU")], [Rna("b", "ACGU")], 0.8)


def test_missing_program_is_named_before_anything_is_read(
    tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidRequestError, match=r"'mmseqs' \(MMseqs2\), which is no"):
        build(tmp_path / "not even there.fa", identity=0.8)


def test_held_out_side_is_dropped_with_its_rows(
    tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, r"printf '0\t0\t0.9\n' > $4", monkeypatch)
    train, test = group_in("train", "family"), group_in("test", "family")
    path = tmp_path / "s.sto"
    path.write_text(
        f"# STOCKHOLM 1.0\n#=GF AC {train}\na ACGUACGU\n//\n"
        f"# STOCKHOLM 1.0\n#=GF AC {test}\nb ACGUACGA\nc GGGGGGGG\n//\n"
    )
    corpus = build(path, identity=0.8)
    assert parts_of(corpus) == {"a": "train", "c": "test"}
    assert corpus.manifest.parts["test"].n_aligned == 1
    (example,) = corpus.manifest.dropped["held out, but like a training RNA"].examples
    assert example == f"'b' of family:{test}, 90% like 'a' of family:{train}"


@pytest.mark.skipif(not shutil.which("mmseqs"), reason="MMseqs2 is not on the PATH")
def test_real_program_finds_what_is_alike_and_only_that(tmp_path: Path) -> None:
    generator = random.Random(0)
    targets = [
        Rna(f"t{i}", "".join(generator.choices("ACGU", k=40 + 10 * (i % 20))))
        for i in range(60)
    ]
    queries = []
    for i, target in enumerate(targets):
        share = 0.1 if i % 2 else 0.4
        n_letters = round(share * len(target.sequence))
        queries.append(Rna("q", spoil(target.sequence, n_letters, generator)))
    found = find_alike(queries, targets, 0.8)
    assert {query: match.target for query, match in found.items()} == {
        i: i for i in range(1, 60, 2)
    }
    assert all(0.8 <= match.identity <= 1 for match in found.values())


@pytest.mark.skipif(not shutil.which("mmseqs"), reason="MMseqs2 is not on the PATH")
def test_real_program_refuses_what_is_not_to_be(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="ended with"):
        find_alike([Rna("a", "ACGU" * 9)], [Rna("b", "ACGU" * 9)], 7.0)

"""Align and the searches that align, over a real socket and from the shell."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import random_alignment, random_dictionary, serving

from ribolex import client as rc
from ribolex.client import Client, cli
from ribolex.dictionary import write_dictionary
from ribolex.dictionary.artefact import ALIGNMENT_FILE
from ribolex.lm import load_lm
from ribolex.registry import FolderRegistry
from ribolex.server.index import pairwise
from ribolex.server.settings import ServerSettings

TRNA = "GGGCCCAUAGCUCAGUGGUAGAGUGCCUCCUUUGCAAGGAGGAUGCCCUGGGUUCGAAUCCCAGUGGGUCCA"
KIN = TRNA[:30] + TRNA[33:50] + "AG" + TRNA[50:]


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> Iterator[Client]:
    """A client of a server whose dictionary has an alignment model."""
    folder, lm = tmp_path_factory.mktemp("aligning"), load_lm(tiny_model)
    staged = folder / "staged"
    extras = {ALIGNMENT_FILE: random_alignment(3).to_bytes()}
    parts = random_dictionary(3, lm, lm.digest)
    write_dictionary(staged, name="tiny", **parts, extras=extras)
    registry = FolderRegistry(folder / "registry")
    registry.publish(staged)
    registry.set_current("tiny", 1)
    settings = ServerSettings(
        port=0, model=str(tiny_model), registry=str(folder / "registry"),
        data=folder / "data",
    )  # fmt: skip
    with serving(settings) as address, Client(address, timeout_s=60) as client:
        client.create_collection("c")
        client.upsert("c", [rc.Rna("kin", KIN), rc.Rna("trna", TRNA)])
        yield client


def _check(query: str, target: str, hit: rc.Hit) -> rc.Alignment:
    """Returns a hit's alignment, once all that it says goes together."""
    one = hit.alignment
    assert one is not None
    columns = list(one.columns())
    in_query = [q for q, _ in columns if q is not None]
    in_target = [t for _, t in columns if t is not None]
    assert in_query == list(range(one.query_start, one.query_stop))
    assert in_target == list(range(one.target_start, one.target_stop))
    same = [
        q is not None and t is not None and query[q] == target[t] for q, t in columns
    ]
    assert one.identity == pytest.approx(sum(same) / len(same))
    parts = [each.contribution for each in hit.shared_features]
    total = sum(parts) + hit.other_contribution
    total += one.letter_contribution + one.gap_contribution
    assert total == pytest.approx(hit.score, abs=1e-3)
    return one


def test_two_rnas_are_aligned_and_the_score_explained(client: Client) -> None:
    found = client.align(TRNA.lower().replace("u", "t"), KIN, max_shared_features=4)
    assert (found.query.sequence, found.hit.rna.sequence) == (TRNA, KIN)
    one = _check(TRNA, KIN, found.hit)
    assert one.gap_contribution < 0
    assert one.identity > 0.8
    assert one.e_value < 1e-3
    assert len(found.hit.shared_features) == 4
    pairs = set(one.columns())
    for shared in found.hit.shared_features:
        both = zip(shared.query_positions, shared.target_positions, strict=True)
        assert pairs.issuperset(both)


def test_stored_rnas_align_as_their_letters_do(client: Client) -> None:
    stored = client.align(query_rna="trna", target_rna="kin", collection="c")
    given = client.align(TRNA, KIN)
    assert (stored.query.name, stored.hit.rna.name) == ("trna", "kin")
    assert replace(stored.hit, rna=given.hit.rna) == given.hit
    mixed = client.align(TRNA, target_rna="kin", collection="c")
    assert mixed.hit == stored.hit
    with pytest.raises(rc.RnaNotFoundError):
        client.align(TRNA, target_rna="nobody", collection="c")


def test_what_has_nothing_in_common_has_no_alignment(client: Client) -> None:
    found = client.align("AAAAAA", "GGGGGG", max_shared_features=9)
    if found.hit.alignment is None:
        assert (found.hit.score, found.hit.shared_features) == (0.0, ())
    else:
        _check("AAAAAA", "GGGGGG", found.hit)


def test_a_long_pair_aligns_as_a_short_one(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = "ACGU" * 40 + KIN + "UGCA" * 40
    whole = client.align(TRNA, target)
    monkeypatch.setattr(pairwise, "_MOST_CELLS", 100)
    cut = client.align(TRNA, target)
    assert cut.hit == whole.hit
    _check(TRNA, target, cut.hit)
    monkeypatch.setattr(pairwise, "_MOST_TRACED", 100)
    with pytest.raises(rc.InvalidRequestError, match="at most 100 pairs"):
        client.align(TRNA, target)


@pytest.mark.parametrize("letters", [("AXGU", "ACGU"), ("ACGU", ""), ("A-C", "ACGU")])
def test_letters_that_are_none_are_refused(
    client: Client, letters: tuple[str, str]
) -> None:
    with pytest.raises(rc.InvalidSequenceError) as caught:
        client.align(*letters)
    (violation,) = caught.value.violations
    assert violation.field in ("query_sequence", "target_sequence")


@pytest.mark.parametrize("sensitivity", ["sensitive", "exhaustive", None])
def test_a_search_aligns_and_explains_what_it_finds(
    client: Client, sensitivity: Any
) -> None:
    found = client.search("c", sequence=TRNA, sensitivity=sensitivity)
    assert found.sensitivity == (sensitivity or "sensitive")
    assert [hit.rna.name for hit in found][:2] == ["trna", "kin"]
    aligned = [_check(TRNA, hit.rna.sequence, hit) for hit in found]
    assert [one.e_value for one in aligned] == sorted(one.e_value for one in aligned)
    assert (aligned[0].identity, aligned[0].query_stop) == (1.0, len(TRNA))
    strict = client.search(
        "c", sequence=TRNA, sensitivity=sensitivity, max_e_value=aligned[0].e_value
    )
    assert list(strict) == list(found)[:1]


def test_a_stored_query_is_no_hit_and_conditions_hold(client: Client) -> None:
    assert "trna" not in [hit.rna.name for hit in client.search("c", rna="trna")]
    where = {"length": rc.Between(None, len(KIN))}
    found = client.search("c", sequence=TRNA, where=where, sensitivity="exhaustive")
    assert (found.n_searched, [hit.rna.name for hit in found]) == (1, ["kin"])


def test_pages_of_alignments_are_the_whole_answer(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ribolex.client.search._PAGE_SIZE", 1)
    asked: Any = {"sequence": TRNA, "sensitivity": "exhaustive"}
    pages = list(client.search_pages("c", **asked))
    assert pages == list(client.search("c", **asked))
    assert len(pages) == 2


def test_a_code_has_nothing_to_align(client: Client) -> None:
    code = client.encode([TRNA], pooling="count").sequence_codes
    assert client.search("c", code=code).sensitivity == "fast"
    with pytest.raises(rc.InvalidRequestError, match="nothing to align"):
        client.search("c", code=code, sensitivity="sensitive")
    with pytest.raises(rc.InvalidRequestError, match="nothing to align"):
        client.search("c", code=code, max_e_value=1.0)


def test_new_rnas_are_aligned_at_once(client: Client) -> None:
    client.upsert("c", [rc.Rna("late", "AAAA" + TRNA + "CCCC")])
    hits = {hit.rna.name: hit for hit in client.search("c", sequence=TRNA)}
    client.delete_rnas("c", ["late"])
    one = _check(TRNA, hits["late"].rna.sequence, hits["late"])
    assert (one.target_start, one.target_stop) == (4, 4 + len(TRNA))


def test_the_shell_prints_tables_listings_and_alignments(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIBOLEX_SERVER", client.address)
    monkeypatch.setenv("COLUMNS", "100")
    Path("q.fa").write_text(f">q\n{TRNA}\n")
    search = ["search", "q.fa", "-c", "c", "--where", f"length<={len(KIN)}"]
    for arguments in (
        [*search, "-o", "-"],
        [*search, "--alignments"],
        ["align", "q.fa", KIN],
    ):
        monkeypatch.setattr("sys.argv", ["ribolex", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert not caught.value.code
    table, text = capsys.readouterr().out.split(f"q  {len(TRNA)} nt, among 1 of", 1)
    header, row = (line.split("\t") for line in table.splitlines())
    cells = dict(zip(header, row, strict=True))
    assert (cells["query"], cells["target"], cells["query_start"]) == ("q", "kin", "1")
    assert float(cells["identity"]) > 80
    listed, aligned = text.split("q 1-", 2)[1:]
    for drawn in (listed, aligned):
        assert TRNA[:30] in drawn
        assert "|" * 25 in drawn
        assert "the letters themselves" in drawn

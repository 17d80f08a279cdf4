"""Evidence survives its file, old files are read, and features are found by it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ribolex.dictionary import Evidence, EvidenceTable, FeatureTable, Profiles
from ribolex.dictionary.features import read_features, write_features
from ribolex.dictionary.profiles import REACH
from ribolex.dictionary.selection import Selection, select
from ribolex.errors import CorruptArtefactError, InvalidRequestError

FULL = Evidence(
    "structure:hairpin", "enrichment", 5.5, 1e-200, 1.0, 25, 4, 3.25, 8.5, 0.99
)
EVIDENCE = (
    (FULL, Evidence("structure:hairpin", "auroc", 0.75, 1e-200, 0.5, 25, 4)),
    (),
    (Evidence("family:RF00005", "enrichment", 30.0, 0.04, None, 20, 1),),
    (Evidence("structure:stem", "enrichment", 1.5), replace(FULL, effect=2.0)),
)


def profiles(n: int) -> Profiles:
    floats = np.array([0.5, np.nan, 0.25, 1.0], np.float32)[:n]
    whole = np.arange(n, dtype=np.int32)
    return Profiles(
        n_firings=np.arange(n, dtype=np.int64) * 2**33,
        n_rnas=whole,
        n_families=whole,
        shape=("point", "dead", "motif", "motif")[:n],
        run_length=whole,
        period=whole,
        type_selectivity=floats,
        type_entropy=floats,
        preferred_type=("Gene;tRNA", "", "", "")[:n],
        shuffled_ratio=floats,
        is_composition_only=np.array([False, False, False, True])[:n],
        label_confidence=floats,
        letters=np.arange(n * (2 * REACH + 1) * 4).reshape(n, -1, 4).astype(np.uint8),
        elements=np.ones((n, 2 * REACH + 1, 7), np.uint8),
        suggestion=("says a model", "", "", "")[:n],
        suggestion_score=floats,
        suggestion_control=floats,
    )


@pytest.fixture
def table() -> FeatureTable:
    return replace(
        FeatureTable.blank(4),
        density=np.array([0.1, 0.3, 0.2, 0.2], np.float32),
        label=("in hairpins", "", "in tRNA", "in stems"),
        evidence=EvidenceTable.of(EVIDENCE),
        profiles=profiles(4),
        basis={"RNAs": 12, "random control": "random directions"},
    )


def test_all_of_a_table_survives_its_file(table: FeatureTable, tmp_path: Path) -> None:
    write_features(tmp_path / "f", table)
    found = read_features(tmp_path / "f")
    assert [found.evidence_of(i) for i in range(4)] == list(EVIDENCE)
    assert found.basis == table.basis
    assert found.profiles is not None
    assert table.profiles is not None
    for name in Profiles.names():
        got, expected = getattr(found.profiles, name), getattr(table.profiles, name)
        np.testing.assert_array_equal(got, expected)


def test_files_from_before_columns_of_evidence_are_read(tmp_path: Path) -> None:
    old = FeatureTable.blank(2)
    write_features(tmp_path / "new", old)
    columns = pq.read_table(tmp_path / "new").drop_columns(["measurements"])
    texts = [
        json.dumps([{"label": "type:tRNA", "measure": "f1", "effect": 0.5}]),
        "[]",
    ]
    columns = columns.append_column("evidence", pa.array(texts, pa.string()))
    pq.write_table(columns.replace_schema_metadata(None), tmp_path / "old")
    found = read_features(tmp_path / "old")
    assert found.evidence_of(0) == (Evidence("type:tRNA", "f1", 0.5),)
    assert found.evidence_of(1) == ()
    assert found.profiles is None
    assert found.basis == {}


@pytest.mark.parametrize("text", ["{", '[{"label": 3}]', '"x"'])
def test_evidence_that_is_none_is_a_spoiled_file(text: str, tmp_path: Path) -> None:
    write_features(tmp_path / "new", FeatureTable.blank(1))
    columns = pq.read_table(tmp_path / "new").drop_columns(["measurements"])
    spoiled = columns.append_column("evidence", pa.array([text], pa.string()))
    pq.write_table(spoiled, tmp_path / "old")
    with pytest.raises(CorruptArtefactError):
        read_features(tmp_path / "old")


@pytest.mark.parametrize("column", ["measurements", "shape", "letters"])
def test_columns_of_another_kind_are_a_spoiled_file(
    column: str, table: FeatureTable, tmp_path: Path
) -> None:
    write_features(tmp_path / "f", table)
    columns = pq.read_table(tmp_path / "f").drop_columns([column])
    spoiled = columns.append_column(column, pa.array([b"\xff"] * 4, pa.binary()))
    pq.write_table(spoiled, tmp_path / "f")
    with pytest.raises(CorruptArtefactError):
        read_features(tmp_path / "f")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Selection(), [0, 1, 2, 3]),
        (Selection(label="structure:hairpin"), [0, 3]),
        (Selection(label="structure:"), [0, 3]),
        (Selection(label="structure:stem"), [3]),
        (Selection(label="structure:none"), []),
        (Selection(min_effect=5.0), [0, 2]),
        (Selection(min_effect=2.0, label="structure:", order="effect"), [0, 3]),
        (Selection(max_q_value=0.01), [0, 3]),
        (Selection(max_q_value=0.05, order="q_value"), [0, 3, 2]),
        (Selection(measure="auroc", min_effect=0.7), [0]),
        (Selection(order="effect"), [2, 0, 3, 1]),
        (Selection(order="density"), [1, 2, 3, 0]),
        (Selection(order="confidence"), [3, 0, 2, 1]),
        (Selection(text="IN "), [0, 2, 3]),
        (Selection(shape="motif"), [2, 3]),
        (Selection(shape="motif", without_composition_only=True), [2]),
    ],
)
def test_features_are_found_by_evidence(
    asked: Selection, expected: list[int], table: FeatureTable
) -> None:
    found = select(table, asked)
    assert found.features.tolist() == expected
    for feature, row in zip(found.features, found.rows, strict=True):
        if row >= 0:
            assert table.evidence.row(int(row)) in table.evidence_of(int(feature))


def test_a_feature_comes_with_its_strongest_evidence_of_what_was_asked(
    table: FeatureTable,
) -> None:
    (row,) = select(table, Selection(label="structure:", text="stems")).rows
    assert table.evidence.row(int(row)).effect == 2.0
    found = select(table, Selection())
    assert found.rows[1] == -1


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (Selection(label="hairpin"), "label"),
        (Selection(label="colour:red"), "label"),
        (Selection(measure="beauty"), "measure"),
        (Selection(shape="round"), "shape"),
    ],
)
def test_what_was_never_measured_is_refused(
    asked: Selection, field: str, table: FeatureTable
) -> None:
    with pytest.raises(InvalidRequestError, match=field):
        select(table, asked)


def test_shapes_of_a_dictionary_without_any_are_refused(table: FeatureTable) -> None:
    bare = replace(table, profiles=None)
    for asked in (Selection(shape="point"), Selection(without_composition_only=True)):
        with pytest.raises(InvalidRequestError, match="was not measured"):
            select(bare, asked)
    assert select(bare, Selection(order="confidence")).features.tolist() == [0, 1, 2, 3]


def test_a_dictionary_without_evidence_lists_its_features() -> None:
    assert select(FeatureTable.blank(3), Selection()).features.tolist() == [0, 1, 2]

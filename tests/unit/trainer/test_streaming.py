"""Rows from the model are those of the cache, in an order that the seed decides."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ribolex.errors import InvalidRequestError
from ribolex.lm import LanguageModel
from ribolex.rna import Rna
from ribolex.trainer import activations, model_rows
from ribolex.trainer.activations import cache_activations
from ribolex.trainer.rows import PooledRows, RowSource
from ribolex.trainer.streaming import StreamedRows

DrawRnas = Callable[..., list[Rna]]


@pytest.fixture
def numbered(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    """Gives a model whose rows tell the RNA's letters before them and the layer.

    It gives the same for an RNA in any batch, so that rows can be compared exactly.
    """

    def compute(sequences: list[str], layers: list[int], _hook: str) -> Any:
        out = []
        for s in sequences:
            rows = np.zeros((len(s), 32), np.float32)
            rows[:, 0], rows[:, 1] = np.arange(len(s)), len(s)
            out.append({layer: rows + layer for layer in layers})
        return out

    monkeypatch.setattr(lm, "activations", compute)
    monkeypatch.setattr(model_rows, "_STEP_NUCLEOTIDES", 100)
    monkeypatch.setattr(activations, "_SHARD_NUCLEOTIDES", 200)
    return lm


def epoch(source: RowSource, batch_rows: int, seed: int, start: int = 0) -> list[Any]:
    batches = source.batches(batch_rows, np.random.default_rng(seed), start=start)
    return [tuple(x.numpy() for x in batch) for batch in batches]


def multiset(batches: list[Any]) -> list[Any]:
    """Gives all rows of all layers, sorted."""
    joined = np.concatenate([np.concatenate(batch, axis=1) for batch in batches])
    return sorted(map(tuple, joined[:, [0, 1, 32, 33]].tolist()))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.text("ACGUN", min_size=1, max_size=90), min_size=1, max_size=30),
    st.integers(1, 70),
    st.integers(1, 40_000),
    st.integers(0, 2**32),
    st.data(),
)
def test_both_sources_give_the_same_rows_once(
    tmp_path_factory: pytest.TempPathFactory,
    numbered: LanguageModel,
    sequences: list[str],
    batch_rows: int,
    budget_bytes: int,
    seed: int,
    data: st.DataObject,
) -> None:
    rnas = [Rna(f"r{i}", "A" + sequence) for i, sequence in enumerate(sequences)]
    folder = tmp_path_factory.mktemp("cache")
    cached = cache_activations(
        numbered, rnas, [1, 2], "normed", folder, lambda *_: None
    )
    pooled = PooledRows([cached[1].rows, cached[2].rows], budget_bytes)
    streamed = StreamedRows(numbered, rnas, [1, 2], "normed", budget_bytes=budget_bytes)
    assert len(pooled) == len(streamed) == len(cached[1])
    assert pooled.d_in == streamed.d_in
    assert pooled.n_layers == streamed.n_layers == 2
    from_disk = epoch(pooled, batch_rows, seed)
    from_model = epoch(streamed, batch_rows, seed)
    assert multiset(from_disk) == multiset(from_model)
    start = data.draw(st.integers(0, len(from_model)))
    resumed = epoch(streamed, batch_rows, seed, start)
    assert [x.tolist() for x, _ in resumed] == [
        x.tolist() for x, _ in from_model[start:]
    ]


def test_rows_of_the_real_model_are_those_of_the_cache(
    lm: LanguageModel, draw_rnas: DrawRnas, tmp_path: Path
) -> None:
    rnas = draw_rnas(40)
    cached = cache_activations(lm, rnas, [2], "normed", tmp_path, lambda *_: None)[2]
    (batch,) = epoch(StreamedRows(lm, rnas, [2], "normed"), 10_000, 0)
    found, known = batch[0], cached.rows[:]
    for each in (found, known):
        assert each.shape == (800, 32)
    by_first = [rows[np.lexsort(rows.T[:3])] for rows in (found, known)]
    np.testing.assert_allclose(by_first[0].sum(0), by_first[1].sum(0), rtol=0.02)


def test_sequence_level_gives_one_row_an_rna(
    lm: LanguageModel, draw_rnas: DrawRnas
) -> None:
    source = StreamedRows(lm, draw_rnas(40), [2], "normed", "sequence")
    assert len(source) == 40
    assert [len(x) for (x,) in epoch(source, 16, 0)] == [16, 16, 8]


def test_batches_mix_rnas(numbered: LanguageModel) -> None:
    """Of 400 RNAs a pool holds 50: no RNA has more than a few rows of a batch."""
    rnas = [Rna(f"r{i}", "ACGU" * 10 + "A" * (i % 50)) for i in range(400)]
    source = StreamedRows(numbered, rnas, [1], "normed", budget_bytes=50 * 65 * 32 * 2)
    for (x,) in epoch(source, 256, 0)[:-1]:
        lengths = np.bincount(x[:, 1].astype(int))
        assert np.count_nonzero(lengths) >= 20
        assert lengths.max() < 64


def test_no_layer_is_refused(lm: LanguageModel) -> None:
    with pytest.raises(InvalidRequestError, match="name at least one layer"):
        StreamedRows(lm, [], [], "normed")

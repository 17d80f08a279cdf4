"""The cache holds every A, C, G and U once, and goes on after a kill."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ribolex.lm import LanguageModel
from ribolex.rna import Rna
from ribolex.trainer import activations as module
from ribolex.trainer.activations import cache_activations

DrawRnas = Callable[..., list[Rna]]


def silent(_done: int, _total: int) -> None:
    pass


@pytest.fixture
def calls(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gives the numbers of sequences that the model is asked for, call by call."""
    seen: list[int] = []
    compute = lm.activations

    def count(sequences: list[str], *arguments: Any) -> Any:
        seen.append(len(sequences))
        return compute(sequences, *arguments)

    monkeypatch.setattr(lm, "activations", count)
    return seen


def test_rows_know_where_they_are_from(lm: LanguageModel, tmp_path: Path) -> None:
    rnas = [Rna("a", "ACNGU"), Rna("b", "NN"), Rna("c", "GRG")]
    found = cache_activations(lm, rnas, 2, "normed", tmp_path, silent)
    assert found.rnas.tolist() == [0, 0, 0, 0, 2, 2]
    assert found.positions.tolist() == [0, 1, 3, 4, 0, 2]
    assert found.offsets.tolist() == [0, 4, 4, 6]
    expected = lm.activations(["GRG"], [2])[0][2][[0, 2]]
    np.testing.assert_allclose(found.rows[found.of_rna(2)], expected, atol=2e-3)


def test_what_is_cached_is_not_computed_again(
    lm: LanguageModel, calls: list[int], draw_rnas: DrawRnas, tmp_path: Path
) -> None:
    rnas = draw_rnas(10)
    first = cache_activations(lm, rnas, 2, "normed", tmp_path, silent)
    again = cache_activations(lm, rnas, 2, "normed", tmp_path, silent)
    assert calls == [10]
    np.testing.assert_array_equal(first.rows, again.rows)


def test_another_layer_hook_or_rnas_are_cached_apart(
    lm: LanguageModel, draw_rnas: DrawRnas, tmp_path: Path
) -> None:
    rnas = draw_rnas(4)
    cache_activations(lm, rnas, 2, "normed", tmp_path, silent)
    cache_activations(lm, rnas, 1, "normed", tmp_path, silent)
    cache_activations(lm, rnas, 2, "raw", tmp_path, silent)
    cache_activations(lm, rnas[:3], 2, "normed", tmp_path, silent)
    assert len(list(tmp_path.iterdir())) == 4


def test_killed_run_goes_on_where_it_was(
    lm: LanguageModel,
    calls: list[int],
    draw_rnas: DrawRnas,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_RNAS_A_STEP", 3)
    monkeypatch.setattr(module, "_STEPS_A_FLUSH", 2)
    rnas = draw_rnas(20)

    def kill(done: int, _total: int) -> None:
        if done >= 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_activations(lm, rnas, 2, "normed", tmp_path, kill)
    assert calls == [3, 3, 3]
    found = cache_activations(lm, rnas, 2, "normed", tmp_path, silent)
    assert calls[3:] == [3, 3, 3, 3, 2]  # the first 6 of 20 were safe
    whole = cache_activations(lm, rnas, 2, "normed", tmp_path / "other", silent)
    np.testing.assert_array_equal(found.rows, whole.rows)

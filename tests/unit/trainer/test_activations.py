"""The cache holds every A, C, G and U once, and goes on after a kill."""

import errno
import json
import logging
import os
import random
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ribolex.errors import InvalidRequestError
from ribolex.lm import LanguageModel
from ribolex.rna import Rna, write_rnas
from ribolex.trainer import activations as module
from ribolex.trainer import model_rows
from ribolex.trainer.activations import Activations, cache_activations
from ribolex.trainer.model_rows import ModelRows
from ribolex.trainer.rows import group

DrawRnas = Callable[..., list[Rna]]


def silent(_done: int, _total: int) -> None:
    pass


def shards(folder: Path, layer: int) -> list[Path]:
    return sorted(folder.glob(f"*/layer-{layer}/0*.npy"))


def compute(lm: LanguageModel, rnas: list[Rna], layer: int, cached: Path) -> np.ndarray:
    """Gives the rows as they come from the model, without a disk."""
    source = ModelRows(lm, rnas, "normed", "nucleotide")
    (place,) = cached.iterdir()
    size = json.loads((place / f"layer-{layer}" / "manifest.json").read_text())
    parts = group([len(r.sequence) for r in rnas], size["shard_nucleotides"])
    found = [
        rows[layer]
        for part in parts
        for step in source.steps(part)
        for rows in source.compute(step, [layer])
    ]
    return np.concatenate(found)


@pytest.fixture
def calls(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Any]]:
    """Gives numbers of sequences and layers that the model is asked for, by call."""
    seen: list[tuple[int, Any]] = []
    compute = lm.activations

    def count(sequences: list[str], layers: list[int], *arguments: Any) -> Any:
        seen.append((len(sequences), layers))
        return compute(sequences, layers, *arguments)

    monkeypatch.setattr(lm, "activations", count)
    return seen


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes shards of 5 RNAs of 20 nucleotides, computed 2 at a time."""
    monkeypatch.setattr(module, "_SHARD_NUCLEOTIDES", 100)
    monkeypatch.setattr(model_rows, "_STEP_NUCLEOTIDES", 40)


def test_rows_know_where_they_are_from(lm: LanguageModel, tmp_path: Path) -> None:
    rnas = [Rna("a", "ACNGU"), Rna("b", "NN"), Rna("c", "GRG")]
    found = cache_activations(lm, rnas, [2], "normed", tmp_path, silent)[2]
    assert found.rnas.tolist() == [0, 0, 0, 0, 2, 2]
    assert found.positions.tolist() == [0, 1, 3, 4, 0, 2]
    assert found.offsets.tolist() == [0, 4, 4, 6]
    assert found.rows.shape == (6, 32)
    expected = lm.activations(["GRG"], [2])[0][2][[0, 2]]
    np.testing.assert_allclose(found.rows[found.of_rna(2)], expected, atol=2e-3)


def test_rnas_without_a_nucleotide_have_no_rows(
    lm: LanguageModel, tmp_path: Path
) -> None:
    found = cache_activations(lm, [Rna("n", "NN")], [2], "normed", tmp_path, silent)[2]
    assert found.rows.shape == found.rows[:].shape == (0, 32)
    assert len(found.rnas) == len(found.positions) == 0


@pytest.mark.usefixtures("small_shards")
def test_sequence_level_has_the_mean_of_each_rna(
    lm: LanguageModel, tmp_path: Path
) -> None:
    rnas = [Rna("a", "ACNGU"), Rna("b", "NN"), Rna("long", "GRACU" * 13)]
    found = cache_activations(lm, rnas, [1, 2], "normed", tmp_path, silent, "sequence")
    assert found[2].rnas.tolist() == [0, 2]
    assert found[2].positions.tolist() == [-1, -1]
    assert found[2].offsets.tolist() == [0, 1, 1, 2]
    for rna, row in ((0, 0), (2, 1)):
        every = lm.activations([rnas[rna].sequence], [2])[0][2]
        kept = [letter in "ACGU" for letter in rnas[rna].sequence]
        expected = every[kept].mean(0)
        np.testing.assert_allclose(found[2].rows[row : row + 1][0], expected, atol=2e-3)


def test_rna_beyond_the_trained_context_is_read_in_windows(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_rows, "_STEP_NUCLEOTIDES", 2000)
    letters = "".join(random.Random(0).choices("ACGUN", k=3000))
    rnas = [Rna("short", "ACGU"), Rna("long", letters)]
    found = cache_activations(lm, rnas, [1, 2], "normed", tmp_path, silent)
    kept = np.array([letter in "ACGU" for letter in letters])
    np.testing.assert_array_equal(found[1].positions[4:], np.flatnonzero(kept))
    expected = lm.activations([letters], [1, 2])[0]
    for layer in (1, 2):
        rows = found[layer].rows[found[layer].of_rna(1)]
        np.testing.assert_allclose(rows, expected[layer][kept], atol=4e-3)


def test_what_is_cached_is_not_computed_again(
    lm: LanguageModel, calls: list[Any], draw_rnas: DrawRnas, tmp_path: Path
) -> None:
    rnas = draw_rnas(10)
    first = cache_activations(lm, rnas, [1], "normed", tmp_path, silent)
    both = cache_activations(lm, rnas, [1, 2], "normed", tmp_path, silent)
    again = cache_activations(lm, rnas, [2, 1], "normed", tmp_path, silent)
    assert calls == [(10, [1]), (10, [2])]
    np.testing.assert_array_equal(first[1].rows[:], again[1].rows[:])
    np.testing.assert_array_equal(both[2].rows[:], again[2].rows[:])
    np.testing.assert_array_equal(both[2].rows[:], compute(lm, rnas, 2, tmp_path))


def test_layers_are_computed_in_one_pass(
    lm: LanguageModel, calls: list[Any], draw_rnas: DrawRnas, tmp_path: Path
) -> None:
    rnas = draw_rnas(10)
    found = cache_activations(lm, rnas, [1, 2], "normed", tmp_path, silent)
    assert calls == [(10, [1, 2])]
    for layer in (1, 2):
        alone = compute(lm, rnas, layer, tmp_path)
        np.testing.assert_array_equal(found[layer].rows[:], alone)


def test_another_hook_level_or_rnas_are_cached_apart(
    lm: LanguageModel, draw_rnas: DrawRnas, tmp_path: Path
) -> None:
    rnas = draw_rnas(4)
    cache_activations(lm, rnas, [2], "normed", tmp_path, silent)
    cache_activations(lm, rnas, [2], "raw", tmp_path, silent)
    cache_activations(lm, rnas[:3], [2], "normed", tmp_path, silent)
    cache_activations(lm, rnas, [2], "normed", tmp_path, silent, "sequence")
    lm.dtype = torch.bfloat16
    cache_activations(lm, rnas, [2], "normed", tmp_path, silent)
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.usefixtures("small_shards")
def test_interrupted_run_goes_on_where_it_was(
    lm: LanguageModel, calls: list[Any], draw_rnas: DrawRnas, tmp_path: Path
) -> None:
    rnas = draw_rnas(12)

    def interrupt(done: int, _total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_activations(lm, rnas, [2], "normed", tmp_path, interrupt)
    assert [n for n, _ in calls] == [2, 2, 1, 2, 2]
    assert not list(tmp_path.rglob(".writing-*"))
    calls.clear()
    told: list[int] = []
    cache_activations(lm, rnas, [2], "normed", tmp_path, lambda i, _: told.append(i))
    assert [n for n, _ in calls] == [2, 2, 1, 2]  # the first shard was safe
    assert told == [5, 7, 9, 10, 10, 12, 12]


# Loads what is slow once; each line read starts a process that fills the cache.
FILL = """
import os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from ribolex.lm import load_lm
from ribolex.rna import read_rnas
from ribolex.trainer import activations, model_rows
model, table, folder = map(Path, sys.argv[1:])
lm, rnas = load_lm(model), list(read_rnas(table))
activations._SHARD_NUCLEOTIDES, model_rows._STEP_NUCLEOTIDES = 100, 40
for line in sys.stdin:
    if not (child := os.fork()):
        activations.cache_activations(
            lm, rnas, [1, 2], "normed", folder, lambda done, total: None)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.mark.slow
def test_kill_at_any_point_costs_no_row(
    lm: LanguageModel, tiny_model: Path, draw_rnas: DrawRnas, tmp_path: Path
) -> None:
    write_rnas(tmp_path / "rnas.tsv.gz", draw_rnas(150))
    folder, generator = tmp_path / "work", random.Random(0)
    paths = map(str, (tiny_model, tmp_path / "rnas.tsv.gz", folder))
    command = [sys.executable, "-c", FILL, *paths]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as filler:
        stdin, stdout = filler.stdin, filler.stdout
        assert stdin is not None
        assert stdout is not None

        def fill(killed_after_s: float | None) -> int:
            print(file=stdin, flush=True)
            child = int(stdout.readline())
            if killed_after_s is not None:
                time.sleep(killed_after_s)
                with suppress(ProcessLookupError):  # it may have done all
                    os.kill(child, 9)
            return int(stdout.readline())

        states = [fill(generator.uniform(0, 0.06)) for _ in range(12)]
        assert states.count(9) >= 3  # or nothing was tested
        assert fill(None) == 0
        stdin.close()
    rnas = draw_rnas(150)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SHARD_NUCLEOTIDES", 100)
        patch.setattr(model_rows, "_STEP_NUCLEOTIDES", 40)
        patch.setattr(lm, "activations", None)  # all is there
        found = cache_activations(lm, rnas, [1, 2], "normed", folder, silent)
        patch.undo()
        patch.setattr(model_rows, "_STEP_NUCLEOTIDES", 40)
        for layer in (1, 2):
            assert len(shards(folder, layer)) == 30
            expected = compute(lm, rnas, layer, folder)
            np.testing.assert_array_equal(found[layer].rows[:], expected)
    np.testing.assert_array_equal(found[1].rnas, np.repeat(np.arange(150), 20))
    np.testing.assert_array_equal(found[1].positions, np.tile(np.arange(20), 150))


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    file.write_bytes(content)


def flip_header(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[24] ^= 1
    file.write_bytes(content)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("damage", [truncate, flip, flip_header, Path.unlink])
@pytest.mark.parametrize(
    "name", ["layer-2/000001.npy", "layer-2/manifest.json", "origins/rnas.npy"]
)
def test_damage_is_found_and_made_good(
    lm: LanguageModel,
    draw_rnas: DrawRnas,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    name: str,
) -> None:
    def cache() -> Activations:
        return cache_activations(lm, draw_rnas(20), [2], "normed", tmp_path, silent)[2]

    cache()
    (place,) = tmp_path.iterdir()
    before = {p: p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}
    damage(place / name)
    with caplog.at_level(logging.WARNING):
        found = cache()
    assert "made anew" in caplog.text or damage is Path.unlink
    assert {p: p.read_bytes() for p in before} == before
    np.testing.assert_array_equal(
        found.rows[:], compute(lm, draw_rnas(20), 2, tmp_path)
    )


@pytest.mark.usefixtures("small_shards")
def test_full_disk_is_an_error_and_what_was_whole_stays(
    lm: LanguageModel, draw_rnas: DrawRnas, tmp_path: Path, calls: list[Any]
) -> None:
    """A limit on the size of files stands in for a disk without room."""
    rnas = [*draw_rnas(10), Rna("long", "ACGU" * 25), *draw_rnas(5, seed=1)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            cache_activations(lm, rnas, [1], "normed", tmp_path, silent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert not list(tmp_path.rglob(".writing-*"))
    found = cache_activations(lm, rnas, [1], "normed", tmp_path, silent)[1]
    np.testing.assert_array_equal(found.rows[:], compute(lm, rnas, 1, tmp_path))


@pytest.mark.parametrize("value", [70_000.0, -70_000.0, float("nan")])
def test_activation_beyond_float16_is_an_error(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    found = np.zeros((4, 32), np.float32)
    found[2, 5] = value
    monkeypatch.setattr(lm, "activations", lambda *_: [{2: found}])
    with pytest.raises(InvalidRequestError, match="raw activations of layer 2 of tiny"):
        cache_activations(lm, [Rna("a", "ACGU")], [2], "raw", tmp_path, silent)
    assert not list(tmp_path.rglob("0*.npy"))


def test_largest_float16_is_kept(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = np.full((4, 32), -65_504, np.float32)
    monkeypatch.setattr(lm, "activations", lambda *_: [{2: found}])
    cached = cache_activations(lm, [Rna("a", "ACGU")], [2], "raw", tmp_path, silent)
    np.testing.assert_array_equal(cached[2].rows[:], found)


def test_layer_that_the_model_does_not_have_is_refused(
    lm: LanguageModel, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequestError, match="layer 9 is not in 1..2"):
        cache_activations(lm, [Rna("a", "ACGU")], [9], "normed", tmp_path, silent)


def test_memory_does_not_grow_with_the_cache(
    lm: LanguageModel, draw_rnas: DrawRnas, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(model_rows, "_STEP_NUCLEOTIDES", 400)
    rnas = draw_rnas(800)
    monkeypatch.setattr(
        lm, "activations", lambda s, *_: [{1: np.ones((20, 32), np.float32)} for _ in s]
    )
    tracemalloc.start()
    try:
        found = cache_activations(lm, rnas, [1], "normed", tmp_path, silent)[1]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) * 32 * 2 > 1_000_000
    assert peak < 500_000

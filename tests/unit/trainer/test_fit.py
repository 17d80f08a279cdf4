"""Fits repeat, resume to the byte, agree between ranks and keep what they promise."""

import copy
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float16
from safetensors.torch import load_file

from ribolex.dictionary import Sae
from ribolex.errors import CorruptArtefactError, InvalidRequestError
from ribolex.trainer.begin import Target, geometric_median, measure_scales
from ribolex.trainer.evaluation.reconstruction import (
    measure_reconstruction as evaluate,
)
from ribolex.trainer.fit import FitPlan, FitProgress, ObjectiveName, fit
from ribolex.trainer.rows import ArrayRows, Batch

D_IN, N_TRUE = 16, 24
WORKER = Path(__file__).with_name("fit_worker.py")
SPARSE: tuple[ObjectiveName, ...] = ("topk", "batchtopk", "matryoshka")
PLAN = FitPlan(n_features=32, k=2, n_rows=20_000, batch_rows=100, learning_rate=1e-2)
SHORT = replace(PLAN, n_rows=4000)


def silent(_: FitProgress) -> None:
    pass


def plant(n_rows: int, seed: int) -> Float16[np.ndarray, "row d_in"]:
    """Gives rows that are sums of 2 of 24 directions, shifted and scaled."""
    directions = np.random.default_rng(99).normal(size=(N_TRUE, D_IN))
    generator = np.random.default_rng(seed)
    chosen = generator.random((n_rows, N_TRUE)).argsort(1)[:, :2]
    weights = generator.random((n_rows, 2)) + 0.5
    rows = (weights[:, :, None] * directions[chosen]).sum(1)
    scaled = rows * np.linspace(0.1, 3, D_IN) + 5
    return np.asarray(scaled, np.float16)


def planted(n_rows: int = 2000) -> ArrayRows:
    return ArrayRows([plant(n_rows, 0)])


def as_bytes(sae: Sae) -> list[bytes]:
    tensors = sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec
    return [tensor.numpy().tobytes() for tensor in tensors]


@pytest.mark.parametrize("objective", SPARSE)
def test_planted_features_are_found_in_held_out_rows(objective: ObjectiveName) -> None:
    plan = replace(PLAN, objective=objective, n_rows=60_000)
    held_out = plant(2000, 1)
    seen: list[FitProgress] = []
    fitted = evaluate(fit(planted(4000), plan, seen.append).sae, held_out)
    untrained = fit(planted(4000), replace(plan, n_rows=100), silent).sae
    assert fitted.fvu < 0.25 < evaluate(untrained, held_out).fvu
    assert fitted.l0 == pytest.approx(2, rel=0.05)
    assert seen[-1].step == seen[-1].n_steps == 600


def test_relu_recipe_is_fitted_and_exported_whole() -> None:
    plan = replace(PLAN, objective="relu", l1=0.3)
    sae = fit(planted(), plan, silent).sae
    assert sae.threshold is not None
    assert (sae.threshold == 0).all()
    assert evaluate(sae, plant(1000, 1)).fvu < 0.1


def test_orthogonality_turns_features_apart() -> None:
    def likeness(weight: float) -> float:
        fitted = fit(planted(), replace(SHORT, orthogonality=weight), silent)
        rows = torch.nn.functional.normalize(
            fitted.sae.W_dec / fitted.moments.sigma, dim=1
        )
        return float((rows @ rows.T - 2 * torch.eye(32)).amax(1).mean())

    assert likeness(1.0) < likeness(0.0) - 0.1


@pytest.mark.parametrize("target", ["layer", "difference"])
@pytest.mark.parametrize("objective", SPARSE)
def test_transcoder_rebuilds_the_other_layer(
    target: Target, objective: ObjectiveName
) -> None:
    def make(seed: int) -> list[Float16[np.ndarray, "row d_in"]]:
        x = plant(4000, seed)
        turn = np.linalg.qr(np.random.default_rng(7).normal(size=(D_IN, D_IN)))[0]
        y = np.asarray((x - 5) / np.linspace(0.1, 3, D_IN) @ turn + 1, np.float16)
        return [x, y]

    plan = replace(PLAN, objective=objective, target=target)
    fitted = fit(ArrayRows(make(0)), plan, silent)
    x, y = (torch.from_numpy(rows).float() for rows in make(1))
    wanted = y if target == "layer" else y - x
    codes = fitted.sae.encode(x)
    error = (wanted - fitted.sae.decode(*codes)) / fitted.target_moments.sigma
    assert float(error.square().mean()) < 0.35
    assert fitted.sae.threshold is not None
    fired = float((codes.values > 0).sum() / len(x))
    assert fired == pytest.approx(2, rel=0.07)


def test_rows_that_do_not_fit_the_plan_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="target: 1 layers"):
        fit(planted(), replace(SHORT, target="layer"), silent)
    with pytest.raises(InvalidRequestError, match="rows: 99"):
        fit(planted(99), SHORT, silent)


@pytest.mark.parametrize("objective", [*SPARSE, "relu"])
def test_the_same_seed_gives_the_same_bytes(objective: ObjectiveName) -> None:
    plan = replace(SHORT, objective=objective)
    one, two = (as_bytes(fit(planted(), plan, silent).sae) for _ in range(2))
    other = as_bytes(fit(planted(), replace(plan, seed=1), silent).sae)
    assert one == two
    assert one[0] != other[0]


@pytest.mark.parametrize("objective", ["matryoshka", "relu"])
def test_a_killed_fit_ends_with_the_same_bytes(
    objective: ObjectiveName, tmp_path: Path
) -> None:
    """Killed inside an epoch, between two checkpoints, by a signal it cannot hear."""
    plan = replace(PLAN, objective=objective, checkpoint_steps=7)
    whole = as_bytes(fit(planted(), plan, silent).sae)
    file = tmp_path / "fit.safetensors"
    np.save(tmp_path / "rows.npy", plant(2000, 0))
    command = [sys.executable, str(WORKER), "kill", json.dumps(asdict(plan))]
    command += [str(tmp_path / "rows.npy"), str(file), "61"]
    done = subprocess.run(command, check=False, timeout=50, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    steps: list[int] = []
    resumed = fit(planted(), plan, lambda at: steps.append(at.step), file)
    assert steps[0] > 56  # the last checkpoint before step 61
    assert as_bytes(resumed.sae) == whole
    again = fit(planted(), plan, lambda at: pytest.fail("took a step"), file)
    assert as_bytes(again.sae) == whole


def test_checkpoint_of_another_fit_or_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fit.safetensors"
    fit(planted(), SHORT, silent, file)
    with pytest.raises(InvalidRequestError, match="is of the fit"):
        fit(planted(), replace(SHORT, seed=1), silent, file)
    with pytest.raises(InvalidRequestError, match="is of the fit"):
        fit(planted(1900), SHORT, silent, file)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(CorruptArtefactError, match="checkpoint"):
        fit(planted(), SHORT, silent, file)
    assert not file.with_name(file.name + ".new").exists()


class Joined:
    """The rows of two ranks in one process: a batch is half and half."""

    d_in, n_layers = D_IN, 1

    def __init__(self) -> None:
        rows = plant(4000, 0)
        self.parts = ArrayRows([rows[:2000]]), ArrayRows([rows[2000:]])

    def __len__(self) -> int:
        return 4000

    def batches(
        self,
        batch_rows: int,
        generator: np.random.Generator,
        device: str = "cpu",
        start: int = 0,
    ) -> Iterator[Batch]:
        halves = [
            part.batches(batch_rows // 2, copy.deepcopy(generator), device, start)
            for part in self.parts
        ]
        for one, two in zip(*halves, strict=True):
            yield (torch.cat([one[0], two[0]]),)


@pytest.mark.parametrize("objective", ["batchtopk", "relu"])
def test_two_ranks_fit_what_one_does_on_their_rows(
    objective: ObjectiveName, tmp_path: Path
) -> None:
    plan = replace(SHORT, objective=objective, orthogonality=0.1, dead_rows=500)
    if objective == "relu":
        plan = replace(plan, orthogonality=0.0)
    alone = fit(Joined(), plan, silent).sae
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    np.save(tmp_path / "rows.npy", plant(4000, 0))
    command += [str(WORKER), "ranks", json.dumps(asdict(plan))]
    command += [str(tmp_path / "rows.npy"), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, timeout=55, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    one, two = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name])
        expected = getattr(alone, name)
        torch.testing.assert_close(tensor, expected, atol=2e-3, rtol=2e-3)


def test_decoder_rows_have_length_1_before_folding() -> None:
    fitted = fit(planted(), SHORT, silent)
    lengths = (fitted.sae.W_dec / fitted.moments.sigma).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(32))


def test_frozen_decoder_stays_as_drawn() -> None:
    plans = [replace(PLAN, n_rows=n, frozen_decoder=True) for n in (200, 4000)]
    short, long = (fit(planted(), plan, silent).sae for plan in plans)
    torch.testing.assert_close(short.W_dec, long.W_dec)
    assert not torch.equal(short.W_enc, long.W_enc)


def test_common_scale_is_the_root_of_the_mean_variance() -> None:
    rows = plant(3000, 0)
    rows[:, :4] *= 8
    plan = replace(SHORT, scale="common")
    fitted = fit(ArrayRows([rows]), plan, silent)
    sigma = np.sqrt(rows.astype(np.float64).var(0).mean())
    np.testing.assert_allclose(fitted.moments.sigma, sigma, rtol=1e-5)
    lengths = fitted.sae.W_dec.norm(dim=1)
    np.testing.assert_allclose(lengths, sigma, rtol=1e-5)


def test_moments_are_those_of_numpy() -> None:
    rows = plant(3000, 0)
    rows[:, 3] = 2.5
    moments = measure_scales(ArrayRows([rows]), "same", 0).x
    exact = rows.astype(np.float64)
    np.testing.assert_allclose(moments.mean, exact.mean(0), rtol=1e-6)
    sigma = exact.std(0)
    sigma[3] = 1.0  # a dimension that never moves is left as it is
    np.testing.assert_allclose(moments.sigma, sigma, rtol=1e-6)


def test_geometric_median_is_not_moved_by_outliers() -> None:
    x = torch.randn(2001, 4, generator=torch.Generator().manual_seed(0))
    x[:100] += 1000
    assert geometric_median(x).norm() < 0.3
    assert x.mean(0).norm() > 90


def test_rate_is_the_rule_unless_given() -> None:
    assert FitPlan(2**14, 2, 10).peak_rate == pytest.approx(4.4e-4)
    assert FitPlan(2**12, 2, 10).peak_rate == pytest.approx(8.8e-4)
    assert FitPlan(2**12, 2, 10, learning_rate=1e-2).peak_rate == 1e-2
    assert FitPlan(2**12, 2, 10, objective="relu").peak_rate == 1e-3

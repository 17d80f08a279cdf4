"""Every objective against a plain dense twin: loss, gradients, AuxK, export."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from ribolex.trainer.objectives import (
    BatchTopK,
    Matryoshka,
    Objective,
    Relu,
    TopK,
    Weights,
    auxk,
    kernels,
    orthogonality,
    sparse,
)
from ribolex.trainer.objectives.auxk import AUX_WEIGHT
from ribolex.trainer.objectives.batchtopk import CAP, kth_largest
from ribolex.trainer.objectives.matryoshka import prefix_ends
from ribolex.trainer.objectives.orthogonality import CHUNK
from ribolex.trainer.objectives.threads import share

D_IN, D_OUT, N_FEATURES, K, N_ROWS = 10, 8, 48, 3, 50
L1 = 0.1


@pytest.fixture(autouse=True)
def _exact_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "choose_dtype", lambda *_: torch.float32)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_weights(n_dead: int = 0) -> Weights:
    """Gives weights of a transcoder, the first features weak and dead already."""
    w_enc = torch.nn.functional.normalize(draw(0, N_FEATURES, D_IN), dim=1)
    w_dec = torch.nn.functional.normalize(draw(1, N_FEATURES, D_OUT), dim=1)
    weights = Weights(w_enc, 0.1 * draw(2, N_FEATURES), w_dec, draw(3, D_OUT))
    with torch.no_grad():
        weights.W_enc[:n_dead].mul_(0.01)
        weights.b_enc[:n_dead] = 0.05
    weights.idle_rows[:n_dead] = 10_000
    return weights


@pytest.fixture
def rows() -> tuple[Tensor, Tensor]:
    return draw(4, N_ROWS, D_IN), draw(5, N_ROWS, D_OUT)


def strongest(codes: Tensor, n: int, axis: int | None) -> Tensor:
    """Gives the codes with all but the n largest (of each row) set to 0."""
    flat = codes.flatten() if axis is None else codes
    top = flat.topk(n, dim=-1)
    kept = torch.zeros_like(flat).scatter(-1, top.indices, top.values)
    return kept.view_as(codes)


def topk_codes(codes: Tensor) -> Tensor:
    return strongest(codes, K, 1)


def batch_codes(codes: Tensor) -> Tensor:
    return strongest(strongest(codes, CAP * K, 1), K * N_ROWS, None)


class Twin(NamedTuple):
    objective: Objective
    choose: Callable[[Tensor], Tensor]
    ends: list[int]


TWINS = {
    "topk": Twin(TopK(K, 1000), topk_codes, [N_FEATURES]),
    "batchtopk": Twin(BatchTopK(K, 1000), batch_codes, [N_FEATURES]),
    "matryoshka": Twin(Matryoshka(K, 1000), batch_codes, prefix_ends(N_FEATURES)),
}


def dense_loss(
    twin: Twin, p: Mapping[str, Tensor], x: Tensor, y: Tensor, dead: list[int]
) -> Tensor:
    """Gives the loss as the docstrings say it, with dense products only."""
    codes = (x @ p["W_enc"].T + p["b_enc"]).relu()
    kept = twin.choose(codes)
    errors = [y - kept[:, :n] @ p["W_dec"][:n] - p["b_dec"] for n in twin.ends]
    loss = torch.stack([e.square().sum() for e in errors]).sum()
    if dead:
        spare = strongest(codes[:, dead], min(D_IN // 2, len(dead)), 1)
        left = errors[-1].detach() - spare @ p["W_dec"][dead]
        share = min(len(dead) / (D_IN / 2), 1.0)
        loss = loss + AUX_WEIGHT * share * left.square().sum()
    return loss / y.numel()


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize(("n_dead", "few"), [(0, 8), (2, 8), (12, 8), (12, 0)])
def test_loss_and_gradients_are_those_of_the_twin(
    name: str,
    n_dead: int,
    few: int,
    rows: tuple[Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auxk, "FEW", few)
    twin, weights = TWINS[name], make_weights(n_dead)
    losses = twin.objective.losses(weights, *rows)
    assert losses.n_dead == n_dead
    parameters = dict(weights.named_parameters())
    expected = dense_loss(twin, parameters, *rows, list(range(n_dead)))
    torch.testing.assert_close(losses.total, expected)
    for got, wanted in zip(
        torch.autograd.grad(losses.total, list(parameters.values())),
        torch.autograd.grad(expected, list(parameters.values())),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", TWINS)
def test_auxk_reaches_the_encoder_as_finite_differences_say(
    name: str, rows: tuple[Tensor, Tensor]
) -> None:
    twin, weights, n_dead = TWINS[name], make_weights(4), 4
    losses = twin.objective.losses(weights, *rows)
    (gradient,) = torch.autograd.grad(losses.total, [weights.W_enc])
    exact = {n: p.detach().double() for n, p in weights.named_parameters()}
    x, y = (side.double() for side in rows)
    for feature in range(n_dead):
        change, moved = 1e-5, []
        for sign in (1, -1):
            w_enc = exact["W_enc"].clone()
            w_enc[feature] += sign * change
            p = {**exact, "W_enc": w_enc}
            moved.append(float(dense_loss(twin, p, x, y, list(range(n_dead)))))
        slope = (moved[0] - moved[1]) / (2 * change)
        assert slope != 0
        assert float(gradient[feature].sum()) == pytest.approx(slope, rel=1e-3)


def test_relu_is_the_equation(rows: tuple[Tensor, Tensor]) -> None:
    weights, (x, y) = make_weights(), rows
    losses = Relu(L1, 1000).losses(weights, x, y)
    codes = (x @ weights.W_enc.T + weights.b_enc).relu()
    error = y - codes @ weights.W_dec - weights.b_dec
    expected = error.square().sum(1).mean() + L1 * codes.sum(1).mean()
    torch.testing.assert_close(losses.total, expected)
    torch.testing.assert_close(losses.fvu, error.square().mean())


@pytest.mark.parametrize("n_features", [48, CHUNK + 1])
def test_orthogonality_is_the_equation(n_features: int) -> None:
    rows = torch.nn.functional.normalize(draw(0, n_features, 8), dim=1)
    rows.requires_grad_()
    order = np.random.default_rng(0).permutation(n_features)
    got = orthogonality(rows, order)
    expected = []
    for chunk in np.array_split(order, -(-n_features // CHUNK)):
        cosines = rows[chunk] @ rows[chunk].T - 2 * torch.eye(len(chunk))
        expected += [*cosines.amax(1).relu().square()]
    wanted = torch.stack(expected).mean()
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(
        torch.autograd.grad(got, rows), torch.autograd.grad(wanted, rows)
    )


@pytest.mark.parametrize("name", TWINS)
def test_compiled_loops_do_what_torch_does(
    name: str, rows: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the second of the two runs."""
    monkeypatch.setattr(auxk, "FEW", 0)
    objective, found = TWINS[name].objective, []
    for way in (sparse._Rebuilt.apply, sparse.rebuild_in_torch):
        monkeypatch.setattr(sparse._Rebuilt, "apply", way)
        weights = make_weights(2)
        total = objective.losses(weights, *rows).total
        found.append([total, *torch.autograd.grad(total, list(weights.parameters()))])
    torch.testing.assert_close(*found, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("n_features", [5, 128, 131, 700])
@pytest.mark.parametrize("k", [1, 3, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chosen_are_the_largest(n_features: int, k: int, dtype: torch.dtype) -> None:
    x, w_enc = draw(0, 40, 8), draw(1, n_features, 8)
    weights = Weights(w_enc, draw(2, n_features) - 1, w_enc, torch.zeros(8))
    scores = torch.addmm(weights.b_enc, x, weights.W_enc.T).detach()
    rough = scores.to(dtype)
    got = sparse.choose(x, weights, rough, k)
    expected = strongest(rough.float(), min(k, n_features), 1) > 0
    firing = got.scores > 0
    chosen = torch.zeros_like(expected)
    chosen[firing.nonzero()[:, 0], got.indices[firing].long()] = True
    if dtype == torch.float32:
        assert torch.equal(chosen, expected)
    assert (chosen.sum(1) - expected.sum(1)).abs().max() <= 1  # 0 when rounded
    exact = scores.gather(1, got.indices.long())[firing]
    torch.testing.assert_close(got.scores[firing], exact)


@pytest.mark.parametrize("k", [1, 16, 24])
def test_kept_are_the_largest_also_among_equals(k: int) -> None:
    scores = (3 * draw(0, 40, 24)).round().relu()
    indices = 100 + torch.arange(24, dtype=torch.int32).repeat(40, 1)
    kept, values = torch.empty(40, k, dtype=torch.int32), torch.empty(40, k)
    share(kernels.keep_largest, 40, (indices, scores), (kept, values))
    assert torch.equal(values.sort(descending=True).values, scores.topk(k).values)
    assert torch.equal(scores.gather(1, kept.long() - 100), values)
    assert all(len(set(row)) == k for row in kept.tolist())


def test_bfloat16_hides_hardly_any_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    w_enc = torch.nn.functional.normalize(draw(1, 512, 64), dim=1)
    weights = Weights(w_enc, torch.zeros(512), w_enc, torch.zeros(64))
    x = draw(0, 500, 64)
    exact = sparse.choose_k(x, weights, sparse.rough_scores(x, weights), 8)
    monkeypatch.setattr(sparse, "choose_dtype", lambda *_: torch.bfloat16)
    rough = sparse.choose_k(x, weights, sparse.rough_scores(x, weights), 8)
    same = rough.indices.sort(1).values == exact.indices.sort(1).values
    assert same.float().mean() > 0.999


def test_floor_leaves_the_choice_of_a_batch_as_it_is(
    rows: tuple[Tensor, Tensor],
) -> None:
    weights, objective = make_weights(), BatchTopK(K, 1000)
    first = objective.losses(weights, *rows).total
    second = objective.losses(weights, *rows).total
    weights.threshold.fill_(1e6)
    too_high = objective.losses(weights, *rows).total
    assert first == second == too_high


@pytest.mark.parametrize("k", [1, 7, 300, 1000])
def test_kth_largest_is_exact(k: int) -> None:
    values = torch.cat([draw(0, 500), torch.tensor([3e-40, 1e30, 2.0, 2.0])])
    positive = values[values > 0].sort(descending=True).values
    expected = positive[min(k, len(positive)) - 1]
    assert kth_largest(values[:, None], k) == expected
    assert kth_largest(torch.zeros(3, 1), k) == 0


def test_threshold_is_the_mean_of_the_least_kept(rows: tuple[Tensor, Tensor]) -> None:
    weights, (x, y) = make_weights(), rows
    least = []
    for start in (0, 20):
        codes = (x[start : start + 20] @ weights.W_enc.T + weights.b_enc).relu()
        kept = codes.detach().flatten().topk(K * 20).values
        least.append(float(kept[-1]))
        BatchTopK(K, 1000).losses(weights, x[start : start + 20], y[start : start + 20])
    assert weights.threshold.dtype == torch.float64
    assert float(weights.threshold) == pytest.approx(sum(least) / 2)


@pytest.mark.parametrize(
    "objective",
    [
        TopK(K, 1000),
        TopK(K, 1000, is_transcoder=True),
        BatchTopK(K, 1000),
        Matryoshka(K, 1000),
        Relu(L1, 1000),
    ],
)
def test_exported_codes_do_not_depend_on_the_batch(
    objective: Objective, rows: tuple[Tensor, Tensor]
) -> None:
    weights, (x, y) = make_weights(), rows
    for _ in range(3):
        objective.losses(weights, x, y)
    sae = objective.export(weights, x)
    whole = sae.encode(x)
    for i in range(N_ROWS):
        alone = sae.encode(x[i : i + 1])
        torch.testing.assert_close(alone.values, whole.values[i : i + 1])
    mean = float((whole.values > 0).sum() / N_ROWS)
    if not isinstance(objective, Relu):
        assert mean == pytest.approx(K, rel=0.05)


def test_relu_is_exported_whole_but_for_a_thousandth(
    rows: tuple[Tensor, Tensor],
) -> None:
    weights, (x, _) = make_weights(), rows
    fired = (x @ weights.W_enc.T + weights.b_enc > 0).sum(1)
    sae = Relu(L1, 1000).export(weights, x)
    assert sae.threshold is not None
    assert (sae.threshold == 0).all()
    assert int(fired.clamp_max(sae.k).sum()) >= 0.999 * int(fired.sum())
    assert int(fired.clamp_max(sae.k - 1).sum()) < 0.999 * int(fired.sum())


def test_dead_is_what_has_not_fired_for_long(rows: tuple[Tensor, Tensor]) -> None:
    weights, objective = make_weights(), TopK(K, 60)
    weights.b_enc.data[3] = -100.0
    assert objective.losses(weights, *rows).n_dead == 0
    assert objective.losses(weights, *rows).n_dead >= 1
    assert int(weights.idle_rows[3]) == 100


def test_step_along_the_gradient_keeps_row_lengths(rows: tuple[Tensor, Tensor]) -> None:
    weights = make_weights()
    TopK(K, 1000).losses(weights, *rows).total.backward()  # type: ignore[no-untyped-call]
    before = weights.W_dec.grad
    assert before is not None
    along = (before * weights.W_dec).sum(1, keepdim=True) * weights.W_dec
    expected = (before - along).detach()
    weights.project_gradient()
    torch.testing.assert_close(weights.W_dec.grad, expected)
    with torch.no_grad():
        weights.W_dec.sub_(0.5 * expected)
    weights.normalise()
    torch.testing.assert_close(weights.W_dec.norm(dim=1), torch.ones(N_FEATURES))

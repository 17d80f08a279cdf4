"""The TopK objective against plain autograd, and AuxK's gradient."""

import pytest
import torch

from ribolex.trainer.objectives import TopKObjective
from ribolex.trainer.objectives.topk import AUX_WEIGHT

D_IN, N_FEATURES, K = 10, 24, 3


def make_objective(dead_rows: int = 1000) -> TopKObjective:
    directions = torch.randn(
        N_FEATURES, D_IN, generator=torch.Generator().manual_seed(0)
    )
    objective = TopKObjective(directions, torch.linspace(-1, 1, D_IN), K, dead_rows)
    with torch.no_grad():
        objective.b_enc.add_(torch.linspace(-0.3, 0.3, N_FEATURES))
    return objective


def plain_loss(
    objective: TopKObjective, x: torch.Tensor, dead: torch.Tensor | None = None
) -> torch.Tensor:
    """Gives the loss as its docstring says it, with dense products only."""
    scores = x @ objective.W_enc.T + objective.b_enc
    top = torch.topk(scores, K, dim=1)
    codes = torch.zeros_like(scores).scatter(1, top.indices, top.values.relu())
    error = x - codes @ objective.W_dec - objective.b_dec
    variance = (x - x.mean(0)).square().sum()
    loss = error.square().sum() / variance
    if dead is None:
        return loss
    ids = torch.nonzero(dead).squeeze(1)
    best = torch.topk(scores[:, ids], min(D_IN // 2, len(ids)), dim=1)
    left = torch.zeros_like(scores[:, ids])
    left = left.scatter(1, best.indices, best.values.relu())
    rest = (error.detach() - left @ objective.W_dec[ids]).square().sum()
    share = min(len(ids) / (D_IN / 2), 1.0)
    return loss + AUX_WEIGHT * share * rest / variance


def silence(objective: TopKObjective, n_dead: int) -> None:
    """Makes the first features fire weakly, never among the k, and dead already."""
    with torch.no_grad():
        objective.W_enc[:n_dead].mul_(0.01)
        objective.b_enc[:n_dead].fill_(0.05)
    objective.idle_rows[:n_dead] = 10_000


def gradients(objective: TopKObjective, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(objective.parameters())))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(50, D_IN, generator=torch.Generator().manual_seed(1))


def test_encoder_begins_as_the_decoder() -> None:
    objective = make_objective()
    assert torch.equal(objective.W_enc, objective.W_dec)
    torch.testing.assert_close(objective.W_dec.norm(dim=1), torch.ones(N_FEATURES))


def test_calibrated_encoder_has_the_best_length(x: torch.Tensor) -> None:
    objective = make_objective()
    objective.calibrate(x)
    best = float(objective(x).fvu)
    for scale in (0.8, 1.25):
        other = make_objective()
        other.calibrate(x)
        with torch.no_grad():
            other.W_enc.mul_(scale)
            other.b_enc.mul_(scale)
        assert float(other(x).fvu) > best


def test_loss_and_gradients_are_those_of_the_equation(x: torch.Tensor) -> None:
    objective = make_objective()
    losses = objective(x)
    expected = plain_loss(objective, x)
    torch.testing.assert_close(losses.total, expected)
    for got, wanted in zip(
        gradients(objective, losses.total), gradients(objective, expected), strict=True
    ):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("n_dead", [2, 12])
def test_auxk_is_that_of_the_equation(x: torch.Tensor, n_dead: int) -> None:
    objective = make_objective(dead_rows=100)
    silence(objective, n_dead)
    losses = objective(x)
    dead = objective.idle_rows > 100
    assert losses.n_dead == int(dead.sum()) > 0
    expected = plain_loss(objective, x, dead)
    torch.testing.assert_close(losses.total, expected)
    for got, wanted in zip(
        gradients(objective, losses.total), gradients(objective, expected), strict=True
    ):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)


def test_auxk_trains_the_encoder_of_a_dead_feature(x: torch.Tensor) -> None:
    objective = make_objective(dead_rows=100)
    silence(objective, 2)
    losses = objective(x)
    w_enc, b_enc = torch.autograd.grad(losses.total, [objective.W_enc, objective.b_enc])
    assert objective.idle_rows[:2].tolist() == [10_050, 10_050]
    assert (w_enc[:2].abs().amax(1) > 0).all()
    assert (b_enc[:2] != 0).all()


def test_dead_is_what_has_not_fired_for_long(x: torch.Tensor) -> None:
    objective = make_objective(dead_rows=60)
    objective.b_enc.data[3] = -100.0
    assert objective(x).n_dead == 0
    assert objective(x).n_dead >= 1
    assert int(objective.idle_rows[3]) == 100


def test_step_along_the_gradient_keeps_row_lengths(x: torch.Tensor) -> None:
    objective = make_objective()
    objective(x).total.backward()
    objective.project_gradient()
    gradient = objective.W_dec.grad
    assert gradient is not None
    along = (gradient * objective.W_dec).sum(1)
    torch.testing.assert_close(along, torch.zeros(N_FEATURES), atol=1e-6, rtol=0)
    with torch.no_grad():
        objective.W_dec.sub_(0.5 * gradient)
    objective.normalise()
    torch.testing.assert_close(objective.W_dec.norm(dim=1), torch.ones(N_FEATURES))


def test_exported_weights_give_the_same_error(x: torch.Tensor) -> None:
    objective = make_objective()
    sae = objective.to_sae()
    error = (x - sae.decode(*sae.encode(x))).square().sum()
    variance = (x - x.mean(0)).square().sum()
    torch.testing.assert_close(objective(x).fvu, error / variance)

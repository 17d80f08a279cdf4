"""Fits a sparse autoencoder or a transcoder to rows of activations.

The same rows, plan and seed give the same bytes, killed and resumed or not. Several
ranks (`ranks`) may fit one together, each on its own rows. Knows nothing of RNAs, or
of what the features mean.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ribolex.dictionary import Moments, Sae
from ribolex.errors import InvalidRequestError
from ribolex.trainer.begin import (
    Pair,
    Scale,
    Target,
    as_pair,
    calibrate,
    draw_random_weights,
    draw_sample,
    draw_weights,
    measure_scales,
)
from ribolex.trainer.checkpoint import read_checkpoint, write_checkpoint
from ribolex.trainer.objectives import (
    BatchTopK,
    Losses,
    Matryoshka,
    Objective,
    Relu,
    TopK,
    Weights,
    orthogonality,
    relu,
)
from ribolex.trainer.ranks import any_over_ranks, n_ranks, rank, sum_over_ranks
from ribolex.trainer.rows import RowSource
from ribolex.trainer.stopping import Stopped

ObjectiveName = Literal["relu", "topk", "batchtopk", "matryoshka"]

_LOG_STEPS = 20


@dataclass(frozen=True, slots=True)
class FitPlan:
    """Everything that decides a fit, besides its rows."""

    n_features: int
    k: int
    """Features that fire for a row: each, or in the mean of a batch."""
    n_rows: int
    """Rows to see, each as often as it takes."""
    batch_rows: int = 1024
    """Rows of a step, of all ranks together."""
    objective: ObjectiveName = "topk"
    target: Target = "same"
    """What to rebuild; a source of two layers for all but "same"."""
    scale: Scale = "dimension"
    """What rows are divided by; with "common" what is minimised is FVU as measured.

    With "dimension" quiet dimensions count as much as loud ones. Half a million rows
    of layer 6 of the bundled model, 3,072 features, k 16, rate 2e-3, held-out clans:
    "common" leaves 0.210 unexplained and 4.5 % of the features dead, "dimension" 0.227
    and 3.9 %.
    """
    orthogonality: float = 0.0
    """Weight of the OrtSAE penalty; not for "relu"."""
    l1: float = 3e-3
    """Weight of the penalty on codes, for "relu" only."""
    learning_rate: float | None = None
    """Peak of the rate; None for 4.4e-4 / sqrt(n_features / 2^14), "relu" 1e-3.

    That is 1e-3 for 3,072 features, twice the rate of Gao et al., since fits here are
    short. Layer 6 of the bundled model, k 16, 5 M rows, on held-out families: 4.6e-4
    (and `dead_rows` 500,000) leaves 0.185 of the variance unexplained and 0.7 % of the
    features dead, 1e-3 0.152 and 0.1 %, 2e-3 0.098 and 39 %.
    """
    decay_share: float = 0.3
    """Last share of the steps over which the rate falls to 0."""
    dead_rows: int = 100_000
    frozen_decoder: bool = False
    """Draw the decoder's directions at random and leave them so: a control."""
    seed: int = 0
    device: str = "cpu"
    checkpoint_steps: int = 1000
    """Steps from one checkpoint to the next; changes nothing else."""

    @property
    def peak_rate(self) -> float:
        """The learning rate that is used."""
        if self.learning_rate is not None:
            return self.learning_rate
        if self.objective == "relu":
            return relu.RATE
        return 4.4e-4 / math.sqrt(self.n_features / 2**14)

    @property
    def n_steps(self) -> int:
        """Batches to see."""
        return max(1, self.n_rows // self.batch_rows)


class Fitted(NamedTuple):
    """A trained autoencoder."""

    sae: Sae
    """Standardisation folded in."""
    moments: Moments
    """Of what it reads."""
    target_moments: Moments
    """Of what it rebuilds."""


class FitProgress(NamedTuple):
    """Where a fit is."""

    step: int
    n_steps: int
    fvu: float
    n_dead: int


def fit(
    source: RowSource,
    plan: FitPlan,
    progress: Callable[[FitProgress], None],
    checkpoint: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Fitted:
    """Returns the autoencoder that the plan makes of the rows.

    Args:
        source: at least a batch of rows; of this rank only. Two layers where the plan
            has a target of its own.
        plan: objective, sizes and schedule.
        progress: is told every few steps by the first rank; FVU is of the batch.
        checkpoint: file to keep where the fit stands in; found there by a second call
            with the same plan and rows, which goes on. It stays when all is done.
        should_stop: is asked after every step, with several ranks after every 20; if
            any rank says yes, the fit is kept and breaks off.

    Raises:
        Stopped: it was to stop.
        InvalidRequestError: fewer rows than a batch, or layers that do not fit the
            target, or a checkpoint of another fit.
        CorruptArtefactError: the checkpoint cannot be read.
    """
    _check(source, plan)
    run = _Run(source, plan)
    if checkpoint is not None and checkpoint.exists():
        run.restore(checkpoint)
    batches = run.batches()
    while run.step < plan.n_steps:
        losses = run.take_step(next(batches))
        if run.step % _LOG_STEPS == 1 or run.step == plan.n_steps:
            fvu = float(sum_over_ranks(losses.fvu))
            if rank() == 0:
                progress(FitProgress(run.step, plan.n_steps, fvu, losses.n_dead))
        is_last = run.step == plan.n_steps
        is_stop = not is_last and _is_stop(run.step, should_stop)
        is_due = run.step % plan.checkpoint_steps == 0 or is_last or is_stop
        if checkpoint is not None and is_due and rank() == 0:
            run.keep(checkpoint)
        if is_stop:
            raise Stopped
    return run.export()


class _Run:
    """Weights, optimiser and how far they are."""

    def __init__(self, source: RowSource, plan: FitPlan) -> None:
        self._source, self._plan = source, plan
        self._rank_rows = plan.batch_rows // n_ranks()
        self._objective = make_objective(plan)
        self._generator = np.random.default_rng([plan.seed, 1])
        scales = measure_scales(source, plan.target, plan.seed, plan.scale)
        self._sample = draw_sample(
            source, plan.target, plan.seed, scales, self._rank_rows
        )
        self._weights = self._begin().to(plan.device)
        self._scales, self._placed = scales, scales.to(plan.device)
        self._weights.W_dec.requires_grad_(not plan.frozen_decoder)
        self._learned = {
            name: parameter
            for name, parameter in self._weights.named_parameters()
            if parameter.requires_grad
        }
        self._optimiser = torch.optim.AdamW(
            self._learned.values(),
            lr=plan.peak_rate,
            weight_decay=self._objective.recipe.weight_decay,
            fused=True,
        )
        self.step = 0

    def batches(self) -> Iterator[Pair]:
        """Yields the standardised batches from this step on, without end."""
        a_epoch = len(self._source) // self._rank_rows
        step = self.step
        while True:
            epoch, start = divmod(step, a_epoch)
            generator = np.random.default_rng([self._plan.seed, epoch])
            device = self._plan.device
            for batch in self._source.batches(
                self._rank_rows, generator, device, start
            ):
                if step // a_epoch > epoch:
                    break  # what is left is no whole batch
                yield self._placed.apply(as_pair(batch, self._plan.target))
                step += 1

    def take_step(self, batch: Pair) -> Losses:
        """Takes one step and returns what the batch gave."""
        plan, weights = self._plan, self._weights
        recipe = self._objective.recipe
        for group in self._optimiser.param_groups:
            group["lr"] = plan.peak_rate * _rate_share(
                plan, self.step, recipe.is_cosine
            )
        self._optimiser.zero_grad(set_to_none=True)
        losses = self._objective.losses(weights, *batch)
        total = losses.total
        if plan.orthogonality:
            seeds = [plan.seed, 2, self.step]
            order = np.random.default_rng(seeds).permutation(plan.n_features)
            penalty = orthogonality(weights.W_dec, order)
            total = total + plan.orthogonality / n_ranks() * penalty
        torch.autograd.backward(total)
        for parameter in self._learned.values():
            sum_over_ranks(_gradient(parameter))
        if recipe.has_unit_rows:
            weights.project_gradient()
        if recipe.longest_gradient < math.inf:
            torch.nn.utils.clip_grad_norm_(
                self._learned.values(), recipe.longest_gradient
            )
        self._optimiser.step()
        if recipe.has_unit_rows and not plan.frozen_decoder:
            weights.normalise()
        self.step += 1
        return losses

    def keep(self, checkpoint: Path) -> None:
        """Writes where the fit stands."""
        tensors = dict(self._weights.state_dict())
        for name, parameter in self._learned.items():
            for key, value in self._optimiser.state[parameter].items():
                tensors[f"{name}.{key}"] = value
        write_checkpoint(checkpoint, tensors, self._digest(), self.step)

    def restore(self, checkpoint: Path) -> None:
        """Goes back to where the fit stood.

        Raises:
            InvalidRequestError: it is of another fit.
            CorruptArtefactError: it cannot be read.
        """
        tensors, self.step = read_checkpoint(checkpoint, self._digest())
        device = self._plan.device
        for name, parameter in self._learned.items():
            keys = ("step", "exp_avg", "exp_avg_sq")
            state = {key: tensors.pop(f"{name}.{key}") for key in keys}
            self._optimiser.state[parameter] = {
                key: value.to(device) for key, value in state.items()
            }
        self._weights.load_state_dict(tensors)

    @torch.no_grad()
    def export(self) -> Fitted:
        """Returns what was trained, in terms of rows as they are."""
        x = self._sample.x.to(self._plan.device)
        sae = self._objective.export(self._weights, x)
        source, target = self._scales
        return Fitted(sae.fold(source, target), source, target)

    def _begin(self) -> Weights:
        plan, sample, generator = self._plan, self._sample, self._generator
        if plan.objective == "relu":
            sizes = sample.x.shape[1], sample.y.shape[1]
            return relu.begin(plan.n_features, *sizes, generator)
        draw = draw_random_weights if plan.frozen_decoder else draw_weights
        weights = draw(sample, plan.n_features, generator)
        calibrate(weights, sample, plan.k)
        return weights

    def _digest(self) -> str:
        """Returns what tells this fit from others: its plan and the first rows."""
        free = ("checkpoint_steps", "device")
        plan = {
            field.name: getattr(self._plan, field.name)
            for field in fields(self._plan)
            if field.name not in free
        }
        digest = hashlib.sha256(repr((plan, n_ranks(), len(self._source))).encode())
        for moments in self._scales:
            for tensor in moments:
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


def make_objective(plan: FitPlan) -> Objective:
    """Returns the objective of a plan."""
    if plan.objective == "relu":
        return Relu(plan.l1, plan.dead_rows)
    if plan.objective == "batchtopk":
        return BatchTopK(plan.k, plan.dead_rows)
    if plan.objective == "matryoshka":
        return Matryoshka(plan.k, plan.dead_rows)
    return TopK(plan.k, plan.dead_rows, is_transcoder=plan.target != "same")


def _is_stop(step: int, should_stop: Callable[[], bool]) -> bool:
    if n_ranks() == 1:
        return should_stop()
    if step % _LOG_STEPS:
        return False
    return bool(any_over_ranks(torch.tensor(should_stop())))


def _check(source: RowSource, plan: FitPlan) -> None:
    wanted = 1 if plan.target == "same" else 2
    if source.n_layers != wanted:
        raise InvalidRequestError(
            "target", f"{source.n_layers} layers of rows, expected {wanted}"
        )
    if plan.orthogonality and plan.objective == "relu":
        raise InvalidRequestError(
            "orthogonality", f"{plan.orthogonality} with relu, expected 0"
        )
    if plan.batch_rows % n_ranks():
        raise InvalidRequestError(
            "batch_rows", f"{plan.batch_rows} rows, expected a multiple of {n_ranks()}"
        )
    if len(source) < plan.batch_rows // n_ranks():
        raise InvalidRequestError(
            "rows", f"{len(source)}, expected {plan.batch_rows // n_ranks()} or more"
        )


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None  # every weight takes part in every loss
    return parameter.grad


def _rate_share(plan: FitPlan, step: int, is_cosine: bool) -> float:
    if is_cosine:
        return (1 + math.cos(math.pi * step / plan.n_steps)) / 2
    left = (plan.n_steps - step) / plan.n_steps
    return min(1.0, left / plan.decay_share)

"""The pretraining loop: steps, learning rate, checkpoints, several processes.

Runs unchanged on CPU (one thread a process, gradients averaged over gloo) and on a
GPU. A killed run goes on from its last checkpoint and draws the same batches as a
run that was never killed. Knows nothing of where the data came from.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from ribolex.lm import LanguageModel, LmConfig, RiNALMo
from ribolex.trainer.pretraining.batches import BatchPlan, BatchSource
from ribolex.trainer.pretraining.corpus import FramedRnas
from ribolex.trainer.pretraining.objective import Losses, PretrainingModel, losses_of

log = logging.getLogger(__name__)

CHECKPOINT_FILE = "checkpoint.pt"
LOG_FILE = "log.jsonl"
_LOGGED = list(Losses._fields)


@dataclass(frozen=True, slots=True)
class PretrainingPlan:
    """Everything that decides a run, besides its data."""

    model: LmConfig
    batches: BatchPlan = field(default_factory=BatchPlan)
    total_tokens: int = 50_000_000
    learning_rate: float = 6e-4
    weight_decay: float = 0.01
    warmup_steps: int = 400
    decay_share: float = 0.35
    """Last share of the run over which the rate falls to a twentieth."""
    contrast_weight: float = 0.3
    structure_weight: float = 0.3
    """Of each of the two losses on structure."""
    partner_layer: int | None = None
    """Block whose first head learns to attend to the partner; None: two thirds up."""
    projection_width: int = 96
    clip_norm: float = 1.0
    checkpoint_steps: int = 2000
    seed: int = 0
    device: str = "cpu"
    compiled: bool = True
    start: Path | None = None
    """Checkpoint of another run with the same sizes, whose weights to begin with."""


def rate_at(plan: PretrainingPlan, step: int, n_tokens: int) -> float:
    """Returns the learning rate: warm-up, plateau, linear decay by tokens seen."""
    warm = min(1.0, (step + 1) / plan.warmup_steps)
    left = max(0.0, 1 - n_tokens / plan.total_tokens)
    return plan.learning_rate * warm * max(0.05, min(1.0, left / plan.decay_share))


class Pretraining:
    """One process's share of a run. Owns the model, the optimiser and the batches."""

    def __init__(
        self,
        plan: PretrainingPlan,
        rnas: FramedRnas,
        aligned: FramedRnas,
        out: Path,
        score: Callable[[LanguageModel], Mapping[str, float]],
    ) -> None:
        self._plan, self._out, self._score = plan, out, score
        self._rnas, self._aligned = rnas, aligned
        self._rank = dist.get_rank() if dist.is_initialized() else 0
        self._world = dist.get_world_size() if dist.is_initialized() else 1
        torch.manual_seed(plan.seed)
        self._model = PretrainingModel(
            plan.model, plan.projection_width, plan.partner_layer
        )
        self._model.to(plan.device).train()
        # Every gradient is a view into one buffer, and the number of tokens lies
        # behind them: one all-reduce, one norm.
        sizes = [p.numel() for p in self._model.parameters()]
        self._shared = torch.zeros(sum(sizes) + 1, device=plan.device)
        self._gradients = self._shared[:-1]
        for p, part in zip(
            self._model.parameters(), torch.split(self._gradients, sizes), strict=True
        ):
            p.grad = part.view_as(p)
        self._optimiser = torch.optim.AdamW(
            self._model.parameters(),
            lr=plan.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=plan.weight_decay,
            fused=True,
        )
        self._losses = (
            torch.compile(losses_of, dynamic=True) if plan.compiled else losses_of
        )
        self._step = self._n_tokens = self._earlier_tokens = 0
        self._resume()
        self._source = self._new_source()

    def run(self, stop_at: float = float("inf")) -> None:
        """Trains until the plan's tokens are seen, or `time.time()` passes `stop_at`.

        Blocking. Leaves a checkpoint and, from rank 0, log lines and `model/`.
        """
        started, start_tokens = time.time(), self._n_tokens
        rows: list[list[float]] = []
        while self._n_tokens < self._plan.total_tokens:
            losses, n = self._advance()
            rows.append(losses)
            self._step += 1
            self._n_tokens += n
            is_last = self._n_tokens >= self._plan.total_tokens
            if is_last or self._step % self._plan.checkpoint_steps == 0:
                speed = (self._n_tokens - start_tokens) / (time.time() - started)
                self._checkpoint(rows, speed)
                rows = []
                if self._is_late(stop_at):
                    break

    def _advance(self) -> tuple[list[float], int]:
        batch, plan = self._source.draw(), self._plan
        for group in self._optimiser.param_groups:
            group["lr"] = rate_at(plan, self._step, self._n_tokens)
        self._gradients.zero_()
        with torch.autocast(torch.device(plan.device).type, torch.bfloat16):
            losses = self._losses(
                self._model,
                *(part.to(plan.device, non_blocking=True) for part in batch.tensors()),
            )
        torch.autograd.backward(
            losses.total(plan.contrast_weight, plan.structure_weight)
        )
        self._shared[-1] = batch.inputs.size
        if self._world > 1:
            dist.all_reduce(self._shared)
            self._gradients /= self._world
        norm = self._gradients.norm()
        self._gradients *= (plan.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        self._optimiser.step()
        return [loss.item() for loss in losses], int(self._shared[-1])

    def _is_late(self, stop_at: float) -> bool:
        late = torch.tensor(float(time.time() > stop_at))
        if self._world > 1:
            dist.all_reduce(late)
        return bool(late > 0)

    def _new_source(self) -> BatchSource:
        seed = [self._plan.seed, self._rank, self._step]
        generator = np.random.default_rng(seed)
        return BatchSource(self._rnas, self._aligned, self._plan.batches, generator)

    def _resume(self) -> None:
        file, device = self._out / CHECKPOINT_FILE, self._plan.device
        if not file.is_file():
            self._begin_with(self._plan.start)
            return
        state = torch.load(file, map_location=device, weights_only=True)
        self._model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._step, self._n_tokens = state["step"], state["n_tokens"]
        self._earlier_tokens = state["earlier_tokens"]
        log.info("resumed at step %d, %d tokens", self._step, self._n_tokens)

    def _begin_with(self, start: Path | None) -> None:
        if start is None:
            return
        state = torch.load(start, map_location=self._plan.device, weights_only=True)
        # Older runs lack the heads of losses that they did not have.
        found = self._model.state_dict() | state["model"]
        self._model.load_state_dict(found)
        self._earlier_tokens = state.get("earlier_tokens", 0) + state["n_tokens"]
        log.info("begins after %d tokens of an earlier run", self._earlier_tokens)

    def _checkpoint(self, rows: list[list[float]], tokens_per_s: float) -> None:
        self._source = self._new_source()
        if self._rank:
            return
        file = self._out / CHECKPOINT_FILE
        partial = file.with_suffix(".partial")
        state = {
            "model": self._model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self._step,
            "n_tokens": self._n_tokens,
            "earlier_tokens": self._earlier_tokens,
        }
        torch.save(state, partial)
        os.replace(partial, file)
        line = {
            "step": self._step,
            "tokens": self._n_tokens,
            "tokens_per_s": round(tokens_per_s),
            **_means(rows),
            **self._score(self._snapshot()),
        }
        with (self._out / LOG_FILE).open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        log.info("%s", line)

    def _snapshot(self) -> LanguageModel:
        network = RiNALMo(self._plan.model)
        network.load_state_dict(self._model.network.state_dict())
        return LanguageModel(network, "in training", self._plan.device)


def _means(rows: list[list[float]]) -> dict[str, float]:
    """Returns the mean of each loss, contrast over the batches that have pairs."""
    by_name = dict(zip(_LOGGED, zip(*rows, strict=True), strict=True))
    by_name["contrast"] = tuple(x for x in by_name["contrast"] if x) or (0.0,)
    return {name: round(float(np.mean(x)), 4) for name, x in by_name.items()}


class Checkpoint(NamedTuple):
    """Where a run stands, for those who only read it."""

    network: RiNALMo
    step: int
    n_tokens: int
    earlier_tokens: int
    """Seen by the runs that it began with."""


def read_checkpoint(out: Path, config: LmConfig) -> Checkpoint:
    """Returns a run's last checkpoint, its network on the CPU."""
    state = torch.load(out / CHECKPOINT_FILE, map_location="cpu", weights_only=True)
    network = RiNALMo(config)
    prefix = "network."
    network.load_state_dict(
        {
            name.removeprefix(prefix): tensor
            for name, tensor in state["model"].items()
            if name.startswith(prefix)
        }
    )
    return Checkpoint(
        network, state["step"], state["n_tokens"], state["earlier_tokens"]
    )

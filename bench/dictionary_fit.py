"""How fast a dictionary is fitted on one CPU thread: every objective, and plain torch.

Baseline: the loss of TopK with dense codes and PyTorch's own gradients, as most
autoencoder code has it. Rows of random numbers, so that no feature dies and all do the
same work. The last line but one says what a step of TopK is spent on.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from ribolex.lm.precision import choose_dtype
from ribolex.trainer.objectives import (
    BatchTopK,
    Matryoshka,
    Objective,
    Relu,
    TopK,
    Weights,
)

D_IN, N_FEATURES, K, BATCH_ROWS, N_STEPS, N_DEAD = 192, 3072, 16, 1024, 15, 1536
NEVER = 10**9

Loss = Callable[[Weights, Tensor], Tensor]


def main() -> None:
    """Measures all in turns and prints rows per second."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH_ROWS, D_IN, generator=generator)
    directions = F.normalize(torch.randn(N_FEATURES, D_IN, generator=generator), dim=1)

    def begin() -> Weights:
        zeros = torch.zeros(N_FEATURES), torch.zeros(D_IN)
        return Weights(directions, zeros[0], directions, zeros[1])

    losses: dict[str, Loss] = {
        "dense topk": _dense_loss,
        "topk": _as_loss(TopK(K, NEVER)),
        "topk, half dead": _as_loss(TopK(K, NEVER - 1)),
        "batchtopk": _as_loss(BatchTopK(K, NEVER)),
        "matryoshka": _as_loss(Matryoshka(K, NEVER)),
        "relu": _as_loss(Relu(3e-3, NEVER)),
    }
    fits = {name: (begin(), loss) for name, loss in losses.items()}
    _bury(fits["topk, half dead"][0])
    steps = {name: _step(*fit, x) for name, fit in fits.items()}
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(N_STEPS + 3):
        for name, step in steps.items():
            began = time.thread_time()
            step()
            if turn >= 3:  # the first compile and allocate
                spent[name].append(time.thread_time() - began)
    speeds = {n: BATCH_ROWS / statistics.median(t) for n, t in spent.items()}
    for name, speed in speeds.items():
        print(f"{name:>16}: {speed:>8,.0f} rows/s")
    print(_shares(steps["topk"]))
    setting = {
        "d_in": D_IN,
        "n_features": N_FEATURES,
        "k": K,
        "batch_rows": BATCH_ROWS,
        "threads": 1,
        "choice": str(choose_dtype("auto", x.device)),
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    dense = speeds.pop("dense topk")
    ratios = {f"{name}/dense topk": round(v / dense, 2) for name, v in speeds.items()}
    figures = {f"{name}_rows_per_s": round(speed) for name, speed in speeds.items()}
    figures["dense topk_rows_per_s"] = round(dense)
    result = {"bench": "dictionary_fit", "setting": setting}
    print(json.dumps(result | {"ratios": ratios, "figures": figures}))


def _as_loss(objective: Objective) -> Loss:
    return lambda weights, x: objective.losses(weights, x, x).total


def _dense_loss(weights: Weights, x: Tensor) -> Tensor:
    scores = x @ weights.W_enc.T + weights.b_enc
    top = torch.topk(scores, K, dim=1)
    codes = torch.zeros_like(scores).scatter(1, top.indices, top.values.relu())
    return (x - codes @ weights.W_dec - weights.b_dec).square().mean()


@torch.no_grad()
def _bury(weights: Weights) -> None:
    """Makes half of the features fire too weakly to be chosen, and dead."""
    weights.W_enc[:N_DEAD].mul_(0.01)
    weights.idle_rows[:N_DEAD] = 2 * NEVER


def _step(weights: Weights, loss: Loss, x: Tensor) -> Callable[[], None]:
    """Returns a whole step: loss, gradients, Adam, unit rows."""
    optimiser = torch.optim.AdamW(
        weights.parameters(), lr=1e-5, weight_decay=0, fused=True
    )

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss(weights, x))
        weights.project_gradient()
        optimiser.step()
        weights.normalise()

    return step


def _shares(step: Callable[[], None]) -> str:
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(N_STEPS):
            step()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    events = sorted(events, key=lambda event: -event.self_cpu_time_total)[:8]
    parts = [f"{e.key} {e.self_cpu_time_total / total:.0%}" for e in events]
    return "a step of topk: " + ", ".join(parts)


if __name__ == "__main__":
    main()

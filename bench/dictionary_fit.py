"""How fast a dictionary is fitted on one CPU thread, sparse and dense.

Baseline: the same loss with dense codes and PyTorch's own gradients, as most
autoencoder code has it. Random rows, so that no feature dies and both do the same.
"""

import json
import platform
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ribolex.trainer.objectives import TopKObjective

D_IN, N_FEATURES, K, BATCH_ROWS, N_STEPS = 192, 3072, 16, 4096, 10


def main() -> None:
    """Measures both and prints rows per second."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH_ROWS, D_IN, generator=generator)
    directions = torch.randn(N_FEATURES, D_IN, generator=generator)

    def sparse(objective: TopKObjective) -> Tensor:
        total: Tensor = objective(x).total
        return total

    def dense(objective: TopKObjective) -> Tensor:
        scores = x @ objective.W_enc.T + objective.b_enc
        top = torch.topk(scores, K, dim=1)
        codes = torch.zeros_like(scores).scatter(1, top.indices, top.values.relu())
        error = x - codes @ objective.W_dec - objective.b_dec
        return error.square().sum() / (x - x.mean(0)).square().sum()

    speeds = {
        name: _rows_per_s(loss, TopKObjective(directions, torch.zeros(D_IN), K, 10**9))
        for name, loss in (("sparse", sparse), ("dense", dense))
    }
    for name, speed in speeds.items():
        print(f"{name:>6}: {speed:>8,.0f} rows/s")
    setting = {
        "d_in": D_IN,
        "n_features": N_FEATURES,
        "k": K,
        "batch_rows": BATCH_ROWS,
        "threads": 1,
        "dtype": "float32",
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    ratios = {"sparse/dense": round(speeds["sparse"] / speeds["dense"], 2)}
    figures = {f"{name}_rows_per_s": round(speed) for name, speed in speeds.items()}
    result = {"bench": "dictionary_fit", "setting": setting}
    print(json.dumps(result | {"ratios": ratios, "figures": figures}))


def _rows_per_s(
    loss: Callable[[TopKObjective], Tensor], objective: TopKObjective
) -> float:
    """Returns the speed of whole steps: loss, gradients, Adam, unit rows."""
    optimiser = torch.optim.Adam(objective.parameters(), lr=1e-3, fused=True)
    spent = 0.0
    for step in range(N_STEPS + 1):
        began = time.process_time()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss(objective))
        objective.project_gradient()
        optimiser.step()
        objective.normalise()
        if step:  # the first allocates
            spent += time.process_time() - began
    return N_STEPS * BATCH_ROWS / spent


if __name__ == "__main__":
    main()

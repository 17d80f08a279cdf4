"""A process that fits and is killed, or one of the ranks that fit together.

fit_worker.py kill PLAN ROWS CHECKPOINT STEP | ranks PLAN ROWS OUT
"""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from ribolex.trainer import fit as fitting
from ribolex.trainer.begin import Pair
from ribolex.trainer.objectives import Losses
from ribolex.trainer.ranks import joined_ranks, rank
from ribolex.trainer.rows import ArrayRows

Run = fitting._Run


def be_killed(plan: str, rows: str, checkpoint: str, step: str) -> None:
    """Fits until a step is taken, then kills itself."""
    take = Run.take_step

    def take_and_die(run: Run, batch: Pair) -> Losses:
        losses = take(run, batch)
        if run.step == int(step):
            os.kill(os.getpid(), signal.SIGKILL)
        return losses

    setattr(Run, "take_step", take_and_die)  # noqa: B010
    source = ArrayRows([np.load(rows)])
    fitting.fit(
        source, fitting.FitPlan(**json.loads(plan)), lambda at: None, Path(checkpoint)
    )


def fit_together(plan: str, rows: str, folder: str) -> None:
    """Fits on this rank's half of the rows and writes what came of it."""
    told: list[fitting.FitProgress] = []
    with joined_ranks("cpu"):
        half = np.split(np.load(rows), 2)[rank()]
        sae = fitting.fit(
            ArrayRows([half]), fitting.FitPlan(**json.loads(plan)), told.append
        ).sae
        assert bool(told) == (rank() == 0)
        names = "W_enc", "b_enc", "W_dec", "b_dec"
        tensors = {name: getattr(sae, name) for name in names}
        save_file(tensors, Path(folder) / f"{rank()}.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "kill":
        be_killed(*sys.argv[2:])
    else:
        fit_together(*sys.argv[2:])

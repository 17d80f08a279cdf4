"""Fits a TopK autoencoder by `ribolex.trainer.fit` on rows that lie in a file.

Started by bench/trainer_throughput.py, as the peers beside it are.
"""

from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from turns import Turns, read_order

from ribolex.trainer.fit import FitPlan, fit
from ribolex.trainer.rows import ArrayRows


def main() -> None:
    """Fits as ordered."""
    order = read_order()
    rows = ArrayRows([np.load(order["rows"])])
    plan = FitPlan(
        n_features=order["n_features"],
        k=order["k"],
        n_rows=order["n_steps"] * order["batch_rows"],
        batch_rows=order["batch_rows"],
        objective="topk",
        scale=order["scale"],
        learning_rate=order["rate"],
        dead_rows=order["dead_rows"],
        seed=order["seed"],
    )
    turns = Turns(order["steps_a_turn"])
    sae = fit(rows, plan, lambda progress: turns.after(progress.step)).sae
    tensors = {"W_enc": sae.W_enc, "b_enc": sae.b_enc}
    tensors |= {"W_dec": sae.W_dec, "b_dec": sae.b_dec}
    save_file(tensors, Path(order["out"]) / "sae.safetensors")


if __name__ == "__main__":
    main()

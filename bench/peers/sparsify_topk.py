"""Fits a TopK autoencoder by sparsify's parts on rows that lie in a file.

Started by bench/trainer_throughput.py in an environment of its own; it knows nothing
of Ribolex. sparsify's Trainer wants a language model whose activations it hooks, so
this loop does what the body of that hook and of its loop do, and no more: the
autoencoder, its loss, unit rows and the optimisers are sparsify's.
"""

from contextlib import nullcontext
from typing import Any

import torch
from schedulefree import ScheduleFreeWrapper
from sparsify import SparseCoder, SparseCoderConfig
from sparsify.sign_sgd import SignSGD
from transformers import get_linear_schedule_with_warmup
from turns import Turns, draw_batches, read_order


def main() -> None:
    """Fits as ordered."""
    order = read_order()
    n_steps = order["n_steps"]
    batches = draw_batches(order)
    width = next(batches).shape[1]
    turns = Turns(order["steps_a_turn"])
    config = SparseCoderConfig(num_latents=order["n_features"], k=order["k"])
    sae = SparseCoder(width, config, dtype=torch.float32)
    optimiser, scheduler = make_optimiser(sae, order)
    idle = torch.zeros(order["n_features"], dtype=torch.long)
    alpha = order["auxk_alpha"]
    precision = (
        torch.autocast("cpu", torch.bfloat16) if order["autocast"] else nullcontext()
    )
    for step in range(n_steps):
        x = next(batches)
        if step == 0:
            sae.b_dec.data = x.mean(0)
        sae.set_decoder_norm_to_unit_norm()
        dead = idle > order["dead_rows"] if alpha > 0 else None
        with precision:
            out = sae(x, dead_mask=dead)
        (out.fvu + alpha * out.auxk_loss).backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimiser.step()
        optimiser.zero_grad()
        if scheduler is not None:
            scheduler.step()
        idle += len(x)
        idle[out.latent_indices.flatten()] = 0
        turns.after(step + 1)
    if scheduler is None:
        optimiser.eval()
    sae.save_to_disk(order["out"])


def make_optimiser(sae: SparseCoder, order: dict[str, Any]) -> tuple[Any, Any]:
    """Returns the optimiser that sparsify's Trainer makes, and its schedule."""
    if order["optimiser"] == "signum":
        made = ScheduleFreeWrapper(
            SignSGD(sae.parameters(), lr=order["rate"]), momentum=0.95
        )
        made.train()
        return made, None
    adam = torch.optim.Adam(sae.parameters(), lr=order["rate"])
    n_warm = int(order["warm_share"] * order["n_steps"])
    return adam, get_linear_schedule_with_warmup(adam, n_warm, order["n_steps"])


if __name__ == "__main__":
    main()

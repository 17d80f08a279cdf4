"""Fits a TopK autoencoder by SAELens' own trainer on rows that lie in a file.

Started by bench/trainer_throughput.py in an environment of its own; it knows nothing
of Ribolex. No language model is in its loop, and nothing is logged.
"""

from collections.abc import Iterator

import torch
from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer
from turns import Turns, draw_batches, read_order

SCALING_BATCHES = 16
"""That SAELens measures the length of rows on before it begins."""


def main() -> None:
    """Fits as ordered."""
    order = read_order()
    n_steps, size = order["n_steps"], order["batch_rows"]
    batches = draw_batches(order)
    width = next(batches).shape[1]
    turns = Turns(order["steps_a_turn"])

    def provide() -> Iterator[torch.Tensor]:
        for _ in range(SCALING_BATCHES if order["scaled"] else 0):
            yield next(batches)
        yield next(batches)
        for step in range(1, n_steps):
            turns.after(step)
            yield next(batches)

    sae = TopKTrainingSAE(
        TopKTrainingSAEConfig(
            d_in=width,
            d_sae=order["n_features"],
            k=order["k"],
            use_sparse_activations=order["sparse"],
            normalize_activations=(
                "expected_average_only_in" if order["scaled"] else "none"
            ),
        )
    )
    n_decay = int(order["decay_share"] * n_steps)
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=n_steps * size,
            train_batch_size_samples=size,
            lr=order["rate"],
            lr_end=order["rate"],
            lr_decay_steps=n_decay,
            autocast=order["autocast"],
            dead_feature_window=order["dead_rows"] // size,
            n_batches_for_norm_estimate=SCALING_BATCHES,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae,
        provide(),
    )
    trainer.fit()
    turns.after(n_steps)
    sae.save_inference_model(order["out"])


if __name__ == "__main__":
    main()

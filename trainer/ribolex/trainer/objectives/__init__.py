"""What a sparse autoencoder is trained to do, one module an objective."""

from ribolex.trainer.objectives.topk import Losses, TopKObjective

__all__ = ["Losses", "TopKObjective"]

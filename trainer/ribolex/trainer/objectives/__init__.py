"""What a sparse autoencoder is trained to do, one module an objective.

An objective is a few numbers with two functions: the losses of a batch, and how what
was trained is run on one row at a time. What is trained are `Weights`.
"""

from ribolex.trainer.objectives.batchtopk import BatchTopK
from ribolex.trainer.objectives.matryoshka import Matryoshka
from ribolex.trainer.objectives.objective import Losses, Objective, Recipe
from ribolex.trainer.objectives.orthogonality import orthogonality
from ribolex.trainer.objectives.relu import Relu
from ribolex.trainer.objectives.topk import TopK
from ribolex.trainer.objectives.weights import Weights

__all__ = [
    "BatchTopK",
    "Losses",
    "Matryoshka",
    "Objective",
    "Recipe",
    "Relu",
    "TopK",
    "Weights",
    "orthogonality",
]

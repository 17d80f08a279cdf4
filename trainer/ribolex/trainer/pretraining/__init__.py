"""Pretraining of a language model: masked letters and alignment contrast.

A batch holds crops of one length. Letters are hidden and predicted (Devlin et al.
2018), and where a batch holds pairs of relatives, each nucleotide must recognise the
one in its alignment column (the idea of Akiyama & Sakakibara 2022). `launch` runs it,
`write_model` makes a model with a measured card of where it stands.
"""

from ribolex.trainer.pretraining.batches import BatchPlan
from ribolex.trainer.pretraining.card import write_model
from ribolex.trainer.pretraining.launch import PretrainingData, launch
from ribolex.trainer.pretraining.loop import PretrainingPlan

__all__ = [
    "BatchPlan",
    "PretrainingData",
    "PretrainingPlan",
    "launch",
    "write_model",
]

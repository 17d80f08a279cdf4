"""What a dictionary is worth, measured on RNAs of families that it never saw.

`measure` takes a dictionary as it was exported and gives an `Evaluation`: how well it
rebuilds activations (`reconstruction`), whether the language model still works on what
it rebuilds (`loss`), what few of its features tell of structure and type (`probing`),
and how much of it another seed finds again (`stability`), each beside what it must
beat: neurons, principal components, and on request the autoencoders of `controls`.
"""

from ribolex.trainer.evaluation.card import write_card
from ribolex.trainer.evaluation.controls import (
    RANDOM_DECODER,
    ControlFits,
    FittedControl,
    Samples,
)
from ribolex.trainer.evaluation.measure import EvaluationPlan, Other, measure, split
from ribolex.trainer.evaluation.record import Evaluation, read_evaluation
from ribolex.trainer.evaluation.sample import Sample, collect, draw

__all__ = [
    "RANDOM_DECODER",
    "ControlFits",
    "Evaluation",
    "EvaluationPlan",
    "FittedControl",
    "Other",
    "Sample",
    "Samples",
    "collect",
    "draw",
    "measure",
    "read_evaluation",
    "split",
    "write_card",
]

"""Probes: what is read off an RNA with a few features of its code.

A probe is fitted to some dozens of labelled RNAs (`fit`): for each label the features
that tell it from the others best, and a weight for each. It is a small JSON file that
says which dictionary version it reads (`Probe`), and is applied to codes as any server
gives them: nothing of it is kept there, and any program can do the sum. `validate` says
what it is worth on relatives that it did not see, beside chance and counts of letters.
"""

from ribolex.client.probe.fitting import Design, Fit, fit
from ribolex.client.probe.probe import Answer, Probe, Reading, Weight
from ribolex.client.probe.validation import Validation, count_words, validate

__all__ = [
    "Answer",
    "Design",
    "Fit",
    "Probe",
    "Reading",
    "Validation",
    "Weight",
    "count_words",
    "fit",
    "validate",
]

"""Dictionaries of other tools, in and out: SAELens, sparsify, InterPLM and its kin.

A sparse autoencoder on disk means nothing without the code that ran it: what was
subtracted, scaled or chosen before and after the two matrix products. Each format's
module reads weights as what their own code computes (`Source.forward`, word for word
from the tensors as they are) and as an `Sae` with all of that folded in; the two are
compared on activations before anything is written, and what cannot be folded exactly
is refused. It lies in the trainer's room because a dictionary has statistics, evidence
and a panel besides its weights, and those are made here.
"""

from ribolex.trainer.interchange.exporting import TARGETS, export_dictionary
from ribolex.trainer.interchange.importing import (
    Imported,
    ImportPlan,
    import_dictionary,
)
from ribolex.trainer.interchange.reading import FORMATS, read_source
from ribolex.trainer.interchange.source import Forward, Reading, Source
from ribolex.trainer.interchange.verify import Agreement, Measures, compare, measure

__all__ = [
    "FORMATS",
    "TARGETS",
    "Agreement",
    "Forward",
    "ImportPlan",
    "Imported",
    "Measures",
    "Reading",
    "Source",
    "compare",
    "export_dictionary",
    "import_dictionary",
    "measure",
    "read_source",
]

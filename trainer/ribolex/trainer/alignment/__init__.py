"""Learning how RNAs are aligned by the codes of a dictionary.

`learn_alignment` makes the `AlignmentModel` that travels with a dictionary: a direction
of each feature (`metric`), what letters, likeness and gaps are worth (`scoring`, on
relatives against shuffled RNAs), the states of nucleotides (`states`), and how
often chance gives a score (`chance`). `add_alignment` publishes a dictionary with it.
"""

from ribolex.trainer.alignment.learn import (
    AlignmentPlan,
    Learned,
    Note,
    learn_alignment,
)
from ribolex.trainer.alignment.relatives import Relatives, read_relatives
from ribolex.trainer.alignment.revise import add_alignment

__all__ = [
    "AlignmentPlan",
    "Learned",
    "Note",
    "Relatives",
    "add_alignment",
    "learn_alignment",
    "read_relatives",
]

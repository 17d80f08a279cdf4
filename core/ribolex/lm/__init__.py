"""RiNALMo, an RNA language model, as Ribolex runs it.

A language model reads an RNA as tokens and hands a vector, the activation, from
layer to layer for each nucleotide. `load_lm` opens weights and gives those vectors
out: of any layer, "normed" (what the next layer reads) or "raw" (what a block
puts out).
"""

from ribolex.lm.configuration import MAX_NUCLEOTIDES, PRESETS, LmConfig
from ribolex.lm.inference import LanguageModel, Replacement, find_device, load_lm
from ribolex.lm.model import Hook, RiNALMo
from ribolex.lm.precision import Precision
from ribolex.lm.threads import in_passing_thread, sensible_threads
from ribolex.lm.weights import load_network, save_network

__all__ = [
    "MAX_NUCLEOTIDES",
    "PRESETS",
    "Hook",
    "LanguageModel",
    "LmConfig",
    "Precision",
    "Replacement",
    "RiNALMo",
    "find_device",
    "in_passing_thread",
    "load_lm",
    "load_network",
    "save_network",
    "sensible_threads",
]

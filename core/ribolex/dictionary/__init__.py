"""Dictionaries: what a sparse autoencoder has learned of a language model's layer.

A dictionary turns the activation of a nucleotide into a short list of features with
values, its code. `load_dictionary` opens a published folder; its `sae` encodes, its
`features` tell what each feature stands for. `Codes` holds the codes of many
nucleotides, `pool` makes one code of an RNA of them, `weigh` a vector for search.
"""

from ribolex.dictionary.alignment import AlignmentModel
from ribolex.dictionary.artefact import (
    Dictionary,
    load_dictionary,
    read_manifest,
    write_dictionary,
)
from ribolex.dictionary.changes import CodeChange, compare_codes, near
from ribolex.dictionary.codes import Codes, SequenceCode, keep_strongest
from ribolex.dictionary.evidence import Evidence, EvidenceTable
from ribolex.dictionary.features import Example, FeatureTable
from ribolex.dictionary.identity import (
    Gate,
    Identity,
    Manifest,
    Standardisation,
    Target,
)
from ribolex.dictionary.panel import Panel, PanelAgreement
from ribolex.dictionary.pooling import Damping, Pooling, pool, weigh
from ribolex.dictionary.profiles import Profiles
from ribolex.dictionary.sae import Moments, Sae, TopK, fvu, squares

__all__ = [
    "AlignmentModel",
    "CodeChange",
    "Codes",
    "Damping",
    "Dictionary",
    "Evidence",
    "EvidenceTable",
    "Example",
    "FeatureTable",
    "Gate",
    "Identity",
    "Manifest",
    "Moments",
    "Panel",
    "PanelAgreement",
    "Pooling",
    "Profiles",
    "Sae",
    "SequenceCode",
    "Standardisation",
    "Target",
    "TopK",
    "compare_codes",
    "fvu",
    "keep_strongest",
    "load_dictionary",
    "near",
    "pool",
    "read_manifest",
    "squares",
    "weigh",
    "write_dictionary",
]

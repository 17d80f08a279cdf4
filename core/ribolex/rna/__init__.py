"""RNA as letters: the alphabet, records, and readers of corpora.

A sequence is a string over A, C, G, U and the IUPAC ambiguity letters; T is read
as U. Everything else in Ribolex takes sequences that `normalise` has accepted.
"""

from ribolex.rna.alphabet import VOCABULARY, normalise, tokenise
from ribolex.rna.fasta import read_fasta
from ribolex.rna.records import Rna
from ribolex.rna.stockholm import Alignment, read_alignments
from ribolex.rna.tables import (
    AlignmentRow,
    read_alignment_rows,
    read_labels,
    read_rnas,
    write_alignment_rows,
    write_rnas,
)

__all__ = [
    "VOCABULARY",
    "Alignment",
    "AlignmentRow",
    "Rna",
    "normalise",
    "read_alignment_rows",
    "read_alignments",
    "read_fasta",
    "read_labels",
    "read_rnas",
    "tokenise",
    "write_alignment_rows",
    "write_rnas",
]

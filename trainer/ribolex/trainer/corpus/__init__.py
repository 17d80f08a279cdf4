"""The RNAs that models and dictionaries are trained and measured on.

A corpus is a folder with three tables, train, validation and test, and a report.
Which part an RNA is in is decided for its whole clan by a hash of the clan's
accession, so that no relative of a training RNA is measured on, and nothing moves
from part to part as the corpus grows.
"""

from ribolex.trainer.corpus.build import build_corpus
from ribolex.trainer.corpus.choice import choose, digest, family_of, read_corpus
from ribolex.trainer.corpus.folder import Corpus, open_corpus
from ribolex.trainer.corpus.gather import CorpusOptions
from ribolex.trainer.corpus.manifest import CorpusManifest
from ribolex.trainer.corpus.split import PARTS, Part, Shares, group_of, part_of

__all__ = [
    "PARTS",
    "Corpus",
    "CorpusManifest",
    "CorpusOptions",
    "Part",
    "Shares",
    "build_corpus",
    "choose",
    "digest",
    "family_of",
    "group_of",
    "open_corpus",
    "part_of",
    "read_corpus",
]

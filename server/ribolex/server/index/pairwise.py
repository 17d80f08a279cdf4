"""Two RNAs aligned, whatever their lengths, and told as a hit with its reasons.

Knows nothing of how a pair is chosen.
"""

from dataclasses import replace

import numpy as np

from ribolex.dictionary import AlignmentModel
from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna
from ribolex.rna.local_alignment import NucleotideArrays, align_locally
from ribolex.rna.traceback import Alignment, trace
from ribolex.server.index.explanation import Aligned, explain
from ribolex.server.index.hits import Hit, Judged
from ribolex.server.index.search import Check

_MOST_CELLS = 4_000_000
"""That are traced as they are; beyond it the ends are found first, in less memory."""
_MOST_TRACED = 400_000_000
"""Bytes that an alignment may take: 20,000 by 20,000 nucleotides."""


def align_pair(
    query: Aligned, target: Aligned, model: AlignmentModel, check: Check
) -> Alignment:
    """Returns the best local alignment of two RNAs.

    Args:
        query: one RNA.
        target: the other.
        model: of their dictionary.
        check: called between passes.

    Raises:
        InvalidRequestError: the alignment itself is too long.
    """
    ours, theirs = _arrays(query, model), _arrays(target, model)
    if len(ours.letters) * len(theirs.letters) <= _MOST_CELLS:
        return trace(ours, theirs, model)
    ends = align_locally(ours, theirs, model)
    check()
    ours = _cut(ours, 0, int(ends.query_stops[0]))
    theirs = _cut(theirs, 0, int(ends.target_stops[0]))
    # Read from its end, the alignment ends where it starts.
    starts = align_locally(_turned(ours), _turned(theirs), model)
    check()
    at = len(ours.letters) - int(starts.query_stops[0])
    other = len(theirs.letters) - int(starts.target_stops[0])
    ours = _cut(ours, at, len(ours.letters))
    theirs = _cut(theirs, other, len(theirs.letters))
    n_cells = len(ours.letters) * len(theirs.letters)
    if n_cells > _MOST_TRACED:
        raise InvalidRequestError(
            "target",
            f"aligns over {len(ours.letters)} by {len(theirs.letters)} nucleotides, "
            f"expected at most {_MOST_TRACED} pairs",
        )
    found = trace(ours, theirs, model)
    return replace(
        found,
        query_start=found.query_start + at,
        query_stop=found.query_stop + at,
        target_start=found.target_start + other,
        target_stop=found.target_stop + other,
    )


def hit_of(
    rna: Rna,
    alignment: Alignment,
    sides: tuple[Aligned, Aligned],
    model: AlignmentModel,
    e_value: float,
    max_shared: int,
) -> Hit:
    """Returns the hit that an alignment makes of an RNA, explained.

    Args:
        rna: the target.
        alignment: with it.
        sides: query and target.
        model: that it was made with.
        e_value: of its score.
        max_shared: features to list.
    """
    query, target = sides
    told = explain(alignment, query, target, model, max_shared)
    # A search aligns vectors of 8 bits: it is the exact score that is explained.
    score = sum(one.contribution for one in told.features) + told.others
    score += told.letters + told.gaps
    return Hit(
        rna,
        score,
        told.features,
        told.n_features,
        told.others,
        Judged(
            alignment,
            e_value,
            float(
                model.statistics.bits(score, len(query.sequence), len(target.sequence))
            ),
            alignment.identity(query.sequence, target.sequence),
            told.letters,
            told.gaps,
        ),
    )


def _arrays(rna: Aligned, model: AlignmentModel) -> NucleotideArrays:
    return NucleotideArrays.of_sequences([rna.sequence], model.vectors(rna.codes))


def _cut(arrays: NucleotideArrays, start: int, stop: int) -> NucleotideArrays:
    vectors = arrays.vectors
    assert isinstance(vectors, np.ndarray)  # those of a model are
    bounds = np.array([0, stop - start], np.int64)
    return NucleotideArrays(arrays.letters[start:stop], bounds, vectors[start:stop])


def _turned(arrays: NucleotideArrays) -> NucleotideArrays:
    vectors = arrays.vectors
    assert isinstance(vectors, np.ndarray)  # those of a model are
    letters, turned = (np.ascontiguousarray(x[::-1]) for x in (arrays.letters, vectors))
    return NucleotideArrays(letters, arrays.offsets, turned)

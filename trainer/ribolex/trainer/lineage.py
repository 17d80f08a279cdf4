"""Which feature of the version before a new dictionary's feature goes on.

Two features are one if they point the same way and fire on the same nucleotides of
the same RNAs. Knows nothing of registries or of what features mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int32
from scipy import sparse

from ribolex.dictionary import Codes, Dictionary, Identity, Sae
from ribolex.lm import LanguageModel
from ribolex.trainer.matching import (
    keep_largest,
    match,
    nearest_directions,
    scores_of,
)

LEAST_CONFIDENCE = 0.5
"""Below it a feature has no ancestor."""

_NEIGHBOURS = 8
_RNAS_A_PART = 256


@dataclass(frozen=True, slots=True)
class Lineage:
    """For every feature, which one it goes on; read-only."""

    ancestor: Int32[np.ndarray, " n_features"]
    """A feature of the older dictionary, each at most once; -1 for none."""
    confidence: Float32[np.ndarray, " n_features"]
    """0..1; 0 where there is none."""

    @property
    def share(self) -> float:
        """Share of the features that have an ancestor."""
        return float((self.ancestor >= 0).mean())


def trace(
    new: Dictionary, old: Dictionary, lm: LanguageModel, sequences: Sequence[str]
) -> Lineage:
    """Returns the lineage of a dictionary.

    Args:
        new: the dictionary.
        old: the version before it.
        lm: the model that the new one was made for. If it is the old one's too, both
            encode RNAs; if not, the old one's codes are those of its own panel.
        sequences: RNAs to compare firings on, besides the panel's.
    """
    is_same_lm = new.identity.lm_digest == old.identity.lm_digest
    shown, old_codes = list(old.panel.sequences), old.panel.codes
    if is_same_lm:
        shown = list(dict.fromkeys([*shown, *new.panel.sequences, *sequences]))
        old_codes = encode_rnas(lm, old.sae, shown, old.identity)
    new_codes = encode_rnas(lm, new.sae, shown, new.identity)
    if len(new_codes) != len(old_codes):  # one is of nucleotides, one of RNAs
        width = new.sae.n_features
        return Lineage(np.full(width, -1, np.int32), np.zeros(width, np.float32))
    directions = None
    if is_same_lm and _space(new) == _space(old):
        directions = nearest_directions(new.sae.W_dec, old.sae.W_dec, _NEIGHBOURS)
    return match_features(new_codes, old_codes, directions)


def encode_rnas(
    lm: LanguageModel,
    sae: Sae,
    sequences: Sequence[str],
    identity: Identity,
    note: Callable[[int, int], None] = lambda done, of: None,
) -> Codes:
    """Returns the codes of all nucleotides; of RNAs, if the dictionary is of those.

    Args:
        lm: the model that the autoencoder was trained on.
        sae: encodes.
        sequences: one or more; some of them are in memory as activations at a time.
        identity: of the dictionary.
        note: told how many of how many are done.
    """
    parts = []
    for start in range(0, len(sequences), _RNAS_A_PART):
        part = sequences[start : start + _RNAS_A_PART]
        found = lm.activations(part, [identity.layer], identity.hook)
        rows = [each[identity.layer] for each in found]
        if identity.level == "sequence":
            rows = [x.mean(0, keepdims=True) for x in rows]
        indices, values = sae.encode(torch.from_numpy(np.concatenate(rows)))
        parts.append(Codes.from_topk(indices.numpy(), values.numpy(), sae.n_features))
        note(start + len(part), len(sequences))
    return Codes.concatenate(parts)


def match_features(
    new: Codes, old: Codes, directions: sparse.csr_array | None
) -> Lineage:
    """Returns the lineage that codes of the same nucleotides and directions tell.

    A pair's confidence is the geometric mean of the cosines of its decoder directions
    and of its values over the nucleotides; the latter alone without directions, the
    former alone if neither fires. Pairs are assigned one to one, so that the sum of
    confidences above the least is largest.

    Args:
        new: codes of some nucleotides.
        old: the older dictionary's codes of the same.
        directions: [new, old] cosines of near decoder directions, > 0; None where
            they lie in different spaces.
    """
    firings = _cofiring(new, old)
    if directions is None:
        scores = keep_largest(firings, _NEIGHBOURS)
    else:
        both = firings.multiply(directions)
        silent = sparse.diags_array(_is_silent(new)) @ directions
        silent = silent @ sparse.diags_array(_is_silent(old))
        scores = sparse.csr_array(both).sqrt() + sparse.csr_array(silent)
    scores = sparse.csr_array(scores).minimum(1.0)
    partners = match(scores, LEAST_CONFIDENCE)
    confidence = scores_of(scores, partners).astype(np.float32)
    return Lineage(partners.astype(np.int32), confidence)


def _cofiring(new: Codes, old: Codes) -> sparse.csr_array:
    """Returns the [new, old] cosines of values over the nucleotides, where > 0."""
    return sparse.csr_array(_scaled(new).T @ _scaled(old))


def _scaled(codes: Codes) -> sparse.csr_array:
    """Returns the [nucleotide, feature] values, every feature's of length 1."""
    width = codes.n_features
    features = codes.indices.astype(np.int64)
    squares = np.bincount(features, codes.values.astype(np.float64) ** 2, width)
    lengths = np.sqrt(np.maximum(squares, 1e-30)).astype(np.float32)
    parts = codes.values / lengths[features], features, codes.indptr
    return sparse.csr_array(parts, shape=(len(codes), width))


def _is_silent(codes: Codes) -> Float32[np.ndarray, " n_features"]:
    """Returns 1 for every feature that fires nowhere, else 0."""
    fired = np.bincount(codes.indices.astype(np.int64), minlength=codes.n_features)
    out: Float32[np.ndarray, " n_features"] = (fired == 0).astype(np.float32)
    return out


def _space(dictionary: Dictionary) -> tuple[object, ...]:
    """Returns what decoder directions of two dictionaries must share to compare."""
    identity, target = dictionary.identity, dictionary.identity.target
    is_difference = target is not None and target.is_difference
    layer = identity.layer if target is None else target.layer
    return identity.hook, layer, is_difference and identity.layer, dictionary.sae.d_out

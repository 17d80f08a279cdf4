"""Which terms the RNAs have in which a feature fires: enrichment at the RNA's level.

After Gujral et al. (PNAS 2025), who test each feature's proteins for terms of the Gene
Ontology with Fisher's exact test, and correct within each feature. Here one
false-discovery rate is over all features and terms, and relatives count once: a term of
several clans is tested over clans. The paper's rule is counted beside it, and both
again with terms dealt out anew. Knows nothing of files.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy import sparse

from ribolex.dictionary.drawn_sums import drawn_moments, moment_tail
from ribolex.dictionary.false_discovery import benjamini_hochberg
from ribolex.trainer.annotation.chance import hypergeometric_tail
from ribolex.trainer.annotation.findings import MAX_Q, MIN_ENRICHMENT
from ribolex.trainer.annotation.material import Material
from ribolex.trainer.annotation.significance import MIN_FAMILIES, MIN_RNAS
from ribolex.trainer.findings.ontology import Ontology

SPREAD = MIN_FAMILIES
"""Clans that a term has to have to be tested over clans."""


class TermSets(NamedTuple):
    """Terms, and the RNAs that have them."""

    names: Sequence[str]
    of_rna: sparse.csc_array
    """[rna, term], 1 where an RNA has a term."""


class Tested(NamedTuple):
    """Tests of features with terms, [feature, term]."""

    hits: Int64[np.ndarray, "n_features term"]
    """RNAs with the term in which the feature fires."""
    enrichment: Float64[np.ndarray, "n_features term"]
    fisher: Float64[np.ndarray, "n_features term"]
    """Probability over RNAs."""
    p_value: Float64[np.ndarray, "n_features term"]
    """Over clans where a term has several, else over RNAs."""
    q_value: Float64[np.ndarray, "n_features term"]
    """Of those, over all tests."""

    @property
    def passes(self) -> Bool[np.ndarray, "n_features term"]:
        """Certain, not weak, and seen in enough RNAs."""
        out: Bool[np.ndarray, "n_features term"]
        out = (self.q_value <= MAX_Q) & (self.enrichment >= MIN_ENRICHMENT)
        return out & (self.hits >= MIN_RNAS)

    @property
    def passes_within(self) -> Bool[np.ndarray, "n_features term"]:
        """The paper's rule: Fisher's test, Bonferroni over a feature's terms."""
        out: Bool[np.ndarray, "n_features term"]
        out = self.fisher * self.fisher.shape[1] < MAX_Q
        return out


class Counts(NamedTuple):
    """Features that go with a term, by two rules, and pairs of both."""

    features: int
    pairs: int
    features_within: int
    """By the paper's rule."""
    pairs_within: int

    @classmethod
    def of(cls, tested: Tested) -> "Counts":
        """Returns what some tests come to."""
        ours, theirs = tested.passes, tested.passes_within
        return cls(
            int(ours.any(1).sum()),
            int(ours.sum()),
            int(theirs.any(1).sum()),
            int(theirs.sum()),
        )


def gather_terms(
    material: Material, given: Sequence[dict[str, set[str]]], ontology: Ontology
) -> TermSets:
    """Returns the terms of RNAs that are common enough, and not everywhere.

    Their types with all that these are part of, families and clans; and terms that
    files give to their names, to their sources (what stands before "/"), families or
    clans, with what the ontology says these are part of.
    """
    members: dict[str, list[int]] = {}
    for i, rna in enumerate(material.rnas):
        data = rna.metadata
        words = [word for word in data.get("type", "").split(";") if word]
        own = {f"type:{';'.join(words[: n + 1])}" for n in range(len(words))}
        keys = [rna.name, rna.name.partition("/")[0]]
        for kind in ("family_acc", "clan"):
            if key := data.get(kind):
                own.add(f"{kind.removesuffix('_acc')}:{key}")
                keys.append(key)
        found = {term for each in given for key in keys for term in each.get(key, ())}
        for term in own | ontology.lift(found):
            members.setdefault(term, []).append(i)
    n_rnas = len(material.rnas)
    kept = [term for term, rnas in members.items() if MIN_RNAS <= len(rnas) < n_rnas]
    rows = [i for term in kept for i in members[term]]
    columns = [j for j, term in enumerate(kept) for _ in members[term]]
    ones = np.ones(len(rows), np.float32)
    shape = (n_rnas, len(kept))
    return TermSets(kept, sparse.csc_array((ones, (rows, columns)), shape=shape))


def assess_terms(
    presence: sparse.csr_array, material: Material, terms: TermSets
) -> Tested:
    """Returns the tests of all features with all terms.

    Args:
        presence: [rna, feature], 1 where a feature fires.
        material: the RNAs.
        terms: theirs.
    """
    n_rnas = presence.shape[0]
    fired = np.asarray(presence.sum(0)).ravel().astype(np.int64)
    totals = np.asarray(terms.of_rna.sum(0)).ravel().astype(np.int64)
    hits = (presence.T @ terms.of_rna).toarray().astype(np.int64)
    expected = fired[:, None] * totals / max(n_rnas, 1)
    shape = hits.shape
    fisher = hypergeometric_tail(
        hits.ravel(),
        np.broadcast_to(fired[:, None], shape).ravel(),
        np.broadcast_to(totals, shape).ravel(),
        n_rnas,
    ).reshape(shape)
    p_value = fisher.copy()
    spread = np.flatnonzero(_n_clans(material, terms) >= SPREAD)
    if len(spread) and material.n_clans >= SPREAD:
        p_value[:, spread] = _over_clans(presence, material, terms, spread)
    q_value = benjamini_hochberg(p_value.ravel(), p_value.size).reshape(shape)
    enrichment = hits / np.maximum(expected, 1e-12)
    return Tested(hits, enrichment, fisher, p_value, q_value)


def deal(
    terms: TermSets, material: Material, generator: np.random.Generator
) -> TermSets:
    """Returns terms that mean nothing: each clan gets those of another clan's RNA.

    A term of fewer than three clans is dealt to as many RNAs, whichever.
    """
    clans = material.clans
    first = np.unique(clans, return_index=True)[1]
    chosen = first[generator.permutation(len(first))][clans]
    out = terms.of_rna.tocsr()[chosen].tolil()
    few = np.flatnonzero(_n_clans(material, terms) < SPREAD)
    if len(few):
        shuffled = generator.permutation(len(clans))
        out[:, few] = terms.of_rna.tocsr()[shuffled][:, few].tolil()
    return TermSets(terms.names, out.tocsc())


def _n_clans(material: Material, terms: TermSets) -> Int64[np.ndarray, " term"]:
    return np.asarray((_by_clan(material) @ terms.of_rna > 0).sum(0)).ravel()


def _by_clan(material: Material) -> sparse.csr_array:
    n = len(material.rnas)
    return sparse.csr_array(
        (np.ones(n, np.float32), (material.clans, np.arange(n))),
        shape=(material.n_clans, n),
    )


def _over_clans(
    presence: sparse.csr_array,
    material: Material,
    terms: TermSets,
    chosen: Int64[np.ndarray, " chosen"],
) -> Float64[np.ndarray, "n_features chosen"]:
    """Returns the chance of such shares of RNAs that fire in as many clans drawn.

    A clan has a term if half of its RNAs do.
    """
    gather = _by_clan(material)
    sizes = np.bincount(material.clans)[:, None]
    shares = (gather @ presence).toarray().astype(np.float64) / sizes
    has = (gather @ terms.of_rna[:, chosen]).toarray() * 2 >= sizes
    moments = drawn_moments(shares, has.sum(0).astype(np.int64))
    found: Float64[np.ndarray, "n_features chosen"]
    found = moment_tail(shares.T @ has, moments, step=0.0)
    return found

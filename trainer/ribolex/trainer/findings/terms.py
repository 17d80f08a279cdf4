"""Which terms the RNAs have in which a feature fires: enrichment at the RNA's level.

After Gujral et al. (PNAS 2025), who test each feature's proteins for terms of the Gene
Ontology with Fisher's exact test, and correct within each feature. Here one
false-discovery rate is over all features and terms, relatives count once (a term of
several clans is tested over clans), and RNAs are compared with those of about the same
length. The paper's rule is counted beside it, and both again with terms dealt out anew
among RNAs of about the same length. Knows nothing of files.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy import sparse

from ribolex.dictionary.false_discovery import benjamini_hochberg
from ribolex.trainer.annotation.chance import hypergeometric_tail
from ribolex.trainer.annotation.findings import MAX_Q, MIN_ENRICHMENT
from ribolex.trainer.annotation.lengths import ByLength
from ribolex.trainer.annotation.material import Material
from ribolex.trainer.annotation.significance import MIN_FAMILIES, MIN_RNAS
from ribolex.trainer.findings.ontology import Ontology

SPREAD = MIN_FAMILIES
"""Clans that a term has to have to be tested over clans."""
NEAR_CLANS, NEAR_RNAS = 10, 200
"""Those next to one another in length, among which terms are dealt."""


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
    """Those over as many as in RNAs of the same lengths."""
    fisher: Float64[np.ndarray, "n_features term"]
    """Probability over RNAs, whatever their length."""
    p_value: Float64[np.ndarray, "n_features term"]
    """Over clans where a term has several, else over RNAs, of the same lengths."""
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
    by_length = ByLength.of(presence.T.tocsr(), material.lengths)
    of_rna = terms.of_rna.tocsr()
    hits = (by_length.fires @ of_rna).toarray().astype(np.int64)
    shape = hits.shape
    fisher = hypergeometric_tail(
        hits.ravel(),
        np.broadcast_to(fired[:, None], shape).ravel(),
        np.broadcast_to(totals, shape).ravel(),
        n_rnas,
    ).reshape(shape)
    p_value = by_length.test(hits.astype(np.float64), of_rna)
    spread = np.flatnonzero(_n_clans(material, terms) >= SPREAD)
    if len(spread) and material.n_clans >= SPREAD:
        # A clan has a term if half of its RNAs do.
        n_with = (_by_clan(material) @ terms.of_rna[:, spread]).toarray()
        has = n_with * 2 >= np.bincount(material.clans)[:, None]
        groups = material.clans.astype(np.int64)
        p_value[:, spread] = by_length.test_groups(groups, has)
    q_value = benjamini_hochberg(p_value.ravel(), p_value.size).reshape(shape)
    enrichment = hits / np.maximum(by_length.expected(of_rna), 1e-12)
    return Tested(hits, enrichment, fisher, p_value, q_value)


def deal(
    terms: TermSets, material: Material, generator: np.random.Generator
) -> TermSets:
    """Returns terms that mean nothing: each clan gets those of another clan's RNA.

    Of about its length, so that what length alone gives stays. A term of fewer than
    three clans is dealt to as many RNAs of such lengths, whichever.
    """
    clans, lengths = material.clans, material.lengths
    first = np.unique(clans, return_index=True)[1]
    means = np.bincount(clans, lengths) / np.bincount(clans)
    chosen = first[_permute(means, NEAR_CLANS, generator)][clans]
    out = terms.of_rna.tocsr()[chosen].tolil()
    few = np.flatnonzero(_n_clans(material, terms) < SPREAD)
    if len(few):
        shuffled = _permute(lengths, NEAR_RNAS, generator)
        out[:, few] = terms.of_rna.tocsr()[shuffled][:, few].tolil()
    return TermSets(terms.names, out.tocsc())


def _permute(
    lengths: Float64[np.ndarray, " member"], n_near: int, generator: np.random.Generator
) -> Int64[np.ndarray, " member"]:
    """Returns another member for each, one of so many that are next to it in length."""
    order = np.argsort(lengths, kind="stable")
    out = np.empty(len(order), np.int64)
    for start in range(0, len(order), n_near):
        near = order[start : start + n_near]
        out[near] = generator.permutation(near)
    return out


def _n_clans(material: Material, terms: TermSets) -> Int64[np.ndarray, " term"]:
    return np.asarray((_by_clan(material) @ terms.of_rna > 0).sum(0)).ravel()


def _by_clan(material: Material) -> sparse.csr_array:
    n = len(material.rnas)
    return sparse.csr_array(
        (np.ones(n, np.float32), (material.clans, np.arange(n))),
        shape=(material.n_clans, n),
    )

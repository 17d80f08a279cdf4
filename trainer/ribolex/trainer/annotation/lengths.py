"""What the length of RNAs alone would give: draws among RNAs of about the same length.

A feature that fires anywhere in an RNA is the likelier to do so the longer the RNA is,
and RNA types and families differ in length: firings of no meaning at all seem to prefer
whatever is long. So RNAs are compared with those of their length only. Draws without
replacement within each stratum are independent of those of the others: mean, variance
and third central moment add up over strata, and are exact. Knows nothing of labels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy import sparse

from ribolex.dictionary.drawn_sums import moment_tail

N_STRATA = 20
"""Of equal size, about, and more where lengths are far apart."""
MIN_MEMBERS = 50
"""Of a stratum."""
WIDEST = 1.2
"""The longest of a stratum over the shortest, where there are members enough."""
_NO_VARIANCE = 1e-9


def stratify(lengths: Float64[np.ndarray, " member"]) -> Int64[np.ndarray, " member"]:
    """Returns which stratum each length is of; equal lengths are of one."""
    values, of_member, counts = np.unique(
        lengths, return_inverse=True, return_counts=True
    )
    wanted = max(len(lengths) / N_STRATA, MIN_MEMBERS)
    strata = np.zeros(len(values), np.int64)
    stratum, n_here, first = 0, 0, values[0] if len(values) else 0.0
    for i, (value, count) in enumerate(zip(values, counts, strict=True)):
        is_wide = value > WIDEST * first and n_here >= MIN_MEMBERS
        if n_here >= wanted or is_wide:
            stratum, n_here, first = stratum + 1, 0, value
        strata[i] = stratum
        n_here += count
    if n_here < MIN_MEMBERS and stratum:
        strata[strata == stratum] -= 1
    out: Int64[np.ndarray, " member"] = strata[of_member.ravel()]
    return out


@dataclass(frozen=True, slots=True)
class ByLength:
    """How often features fire in RNAs of each stratum of lengths; read-only."""

    lengths: Float64[np.ndarray, " rna"]
    strata: Int64[np.ndarray, " rna"]
    fires: sparse.csr_array
    """[feature, rna], 1 where a feature fires."""
    rates: Float64[np.ndarray, "n_features stratum"]
    """Share of a stratum's RNAs in which a feature fires."""

    @classmethod
    def of(
        cls, fires: sparse.csr_array, lengths: Float64[np.ndarray, " rna"]
    ) -> "ByLength":
        """Returns the rates of features that fire so in RNAs of such lengths."""
        strata = stratify(lengths)
        counts = (fires @ sort_out(strata).T).toarray()
        sizes = np.bincount(strata)
        return cls(lengths, strata, fires, counts.astype(np.float64) / sizes)

    def expected(self, members: sparse.csr_array) -> Float64[np.ndarray, "feature set"]:
        """Returns in how many RNAs of each set length alone lets a feature fire.

        Args:
            members: [rna, set], 1 where an RNA is of a set.
        """
        drawn = (sort_out(self.strata) @ members).toarray().astype(np.float64)
        out: Float64[np.ndarray, "feature set"] = self.rates @ drawn
        return out

    def test(
        self, hits: Float[np.ndarray, "feature set"], members: sparse.csr_array
    ) -> Float64[np.ndarray, "feature set"]:
        """Returns P(at least so many hits) in RNAs of a set's lengths drawn by chance.

        Args:
            hits: RNAs of each set in which a feature fires.
            members: [rna, set], 1 where an RNA is of a set.
        """
        sizes = np.bincount(self.strata).astype(np.float64)
        drawn = (sort_out(self.strata) @ members).toarray().astype(np.float64)
        spread = sizes * self.rates * (1 - self.rates)
        moments = _sum_moments(
            (self.rates, spread, spread * (1 - 2 * self.rates)), sizes, drawn
        )
        out: Float64[np.ndarray, "feature set"] = moment_tail(hits, moments)
        return out

    def test_groups(
        self, groups: Int64[np.ndarray, " rna"], has: Bool[np.ndarray, "group set"]
    ) -> Float64[np.ndarray, "feature set"]:
        """Returns the same where whole groups of RNAs are drawn, relatives as a rule.

        A group counts by the share of its RNAs that fire less what their lengths
        predict; those drawn in its place are of about its mean length.

        Args:
            groups: of each RNA; all occur.
            has: which groups are of each set.
        """
        n_rnas = len(groups)
        sizes = np.bincount(groups)
        # As narrow as `fires`, which a product with a wider one would copy.
        parts = (1 / sizes[groups]).astype(np.float32)
        shape = n_rnas, len(sizes)
        mean = sparse.csr_array((parts, (np.arange(n_rnas), groups)), shape)
        expected = self.rates @ (sort_out(self.strata) @ mean).toarray()
        values = (self.fires @ mean).toarray() - expected
        strata = stratify(np.exp(np.log(self.lengths) @ mean))
        table = sort_out(strata)
        n_groups = np.bincount(strata).astype(np.float64)
        means = values @ table.T / n_groups
        off = values - means[:, strata]
        moments = _sum_moments(
            (means, off**2 @ table.T, off**3 @ table.T),
            n_groups,
            (table @ has.astype(np.float64)),
        )
        hits = values @ has.astype(np.float64)
        found = moment_tail(hits, moments, step=0.0)
        # Where all of a length have the label, no draw says anything.
        out: Float64[np.ndarray, "feature set"]
        out = np.where(moments[..., 1] > _NO_VARIANCE, found, 1.0)
        return out


def sort_out(strata: Int64[np.ndarray, " member"]) -> sparse.csr_array:
    """Returns the [stratum, member] matrix with a 1 where a member is of a stratum."""
    n = len(strata)
    ones = np.ones(n, np.float32)
    shape = (int(strata.max(initial=-1)) + 1, n)
    return sparse.csr_array((ones, (strata, np.arange(n))), shape=shape)


def _sum_moments(
    values: tuple[Float64[np.ndarray, "feature stratum"], ...],
    sizes: Float64[np.ndarray, " stratum"],
    drawn: Float64[np.ndarray, "stratum set"],
) -> Float64[np.ndarray, "feature set 3"]:
    """Returns the moments of sums of members drawn within strata.

    Args:
        values: their mean, and sums of squares and cubes of what is off it.
        sizes: members of each stratum.
        drawn: how many of them are drawn.
    """
    n, m = sizes[:, None], drawn
    spread = m * (n - m) / np.maximum(n * (n - 1), 1)
    lean = spread * (n - 2 * m) / np.maximum(n - 2, 1)
    parts = zip(values, (m, spread, lean), strict=True)
    return np.stack([value @ weight for value, weight in parts], axis=-1)

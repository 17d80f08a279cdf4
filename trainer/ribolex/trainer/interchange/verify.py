"""Whether an imported autoencoder computes what its tool did, and how well that does.

Knows nothing of formats or files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from ribolex.dictionary import Sae, TopK
from ribolex.trainer.evaluation.reconstruction import DENSE_SHARE
from ribolex.trainer.interchange.source import Forward, Source

TOLERANCE = 1e-4
"""Relative; float32 weights give about 1e-6."""

_MAX_SCORES = 1 << 23


class Agreement(NamedTuple):
    """How far an `Sae` is from the tool's own forward pass."""

    codes: float
    """Length of the difference of the codes over the length of the tool's."""
    rebuilt: float
    """The same of what is rebuilt, as far as it is not the same for all."""
    n_ties: int
    """Firings on the very edge of a threshold or of the k largest, left out."""

    @property
    def is_exact(self) -> bool:
        """Whether it is the same autoencoder up to rounding; not if NaN."""
        return max(self.codes, self.rebuilt) <= TOLERANCE


@dataclass(frozen=True, slots=True)
class Measures:
    """What an autoencoder does with activations."""

    fvu: float
    """Squared error over squared distance from the mean of what is to be rebuilt."""
    turned_fvu: float | None
    """The same with its decoder transposed, if that is square."""
    l0: float
    """Mean number of features that fire on a nucleotide, before any limit k."""
    dead_fraction: float
    dense_fraction: float
    n_nucleotides: int
    n_firing: tuple[int, ...]
    """Nucleotides on which 0, 1, 2 ... features fire, before any limit k."""

    def cut_share(self, k: int) -> float:
        """Returns the share of firings that a limit of k a nucleotide takes away."""
        total = sum(n * rows for n, rows in enumerate(self.n_firing))
        cut = sum((n - k) * rows for n, rows in enumerate(self.n_firing) if n > k)
        return cut / max(total, 1)

    def limit(self, share: float) -> int:
        """Returns the smallest k, at least 1, that cuts at most this share."""
        ks = range(1, max(len(self.n_firing), 2))
        return next((k for k in ks if self.cut_share(k) <= share), 1)


def compare(source: Source, x: Float[Tensor, "token d_in"]) -> Agreement:
    """Returns how near `source.sae` is to `source.forward` on activations.

    Args:
        source: with `sae.k` as large as it may be, or of TopK.
        x: rows that both are given, in float32.
    """
    sums = torch.zeros(4, dtype=torch.float64)
    n_ties = 0
    for part in _parts(x, source.sae.n_features):
        expected = source.forward(part.double())
        codes = source.sae.encode(part)
        dense = _dense(codes, source.sae.n_features)
        is_tie = _ties(source.sae, dense, expected)
        n_ties += int(is_tie.sum())
        gap = (dense - expected.codes).masked_fill(is_tie, 0)
        whole = ~is_tie.any(1)
        rebuilt = source.sae.decode(*codes).double()
        moved = expected.rebuilt - source.sae.b_dec.double()
        sums += torch.stack(
            [
                gap.square().sum(),
                expected.codes.square().sum(),
                (rebuilt - expected.rebuilt)[whole].square().sum(),
                moved.square().sum(),
            ]
        )
    off = (sums[0::2] / sums[1::2].clamp_min(1e-30)).sqrt()
    return Agreement(float(off[0]), float(off[1]), n_ties)


def measure(
    sae: Sae,
    x: Float[Tensor, "token d_in"],
    y: Float[Tensor, "token d_out"] | None = None,
) -> Measures:
    """Returns how well an autoencoder does, with no limit k but a TopK's own.

    Args:
        sae: with everything folded in.
        x: activations, two rows or more.
        y: what it is to rebuild of them; `x` if None.
    """
    target = x if y is None else y
    mean = target.double().mean(0)
    error, turned_error, spread = 0.0, 0.0, 0.0
    is_square = sae.n_features == sae.d_out
    fired = torch.zeros(sae.n_features, dtype=torch.int64)
    counts = torch.zeros(sae.n_features + 1, dtype=torch.int64)
    at = 0
    for part in _parts(x, sae.n_features):
        wanted = target[at : at + len(part)].double()
        at += len(part)
        codes = sae.encode(part)
        error += float((sae.decode(*codes).double() - wanted).square().sum())
        spread += float((wanted - mean).square().sum())
        fires = codes.values > 0
        fired += torch.bincount(codes.indices[fires], minlength=sae.n_features)
        counts += torch.bincount(fires.sum(1), minlength=sae.n_features + 1)
        if is_square:
            turned = _dense(codes, sae.n_features) @ sae.W_dec.T.double() + sae.b_dec
            turned_error += float((turned - wanted).square().sum())
    last = int(counts.nonzero().max())
    spread = max(spread, 1e-30)
    return Measures(
        error / spread,
        turned_error / spread if is_square else None,
        float(fired.sum() / len(x)),
        float((fired == 0).float().mean()),
        float((fired > DENSE_SHARE * len(x)).float().mean()),
        len(x),
        tuple(counts[: last + 1].tolist()),
    )


def _ties(
    sae: Sae, ours: Float64[Tensor, "token n_features"], theirs: Forward
) -> Tensor:
    """Returns where one fires and the other does not, and rounding alone decides."""
    differs = (ours > 0) != (theirs.codes > 0)
    value = torch.maximum(ours, theirs.codes)
    if sae.threshold is None:
        least = ours.masked_fill(ours == 0, torch.inf).amin(1, keepdim=True)
        edge = least.masked_fill(least.isinf(), 0.0)
    else:
        edge = sae.threshold.double()
    scale = theirs.codes.amax(1, keepdim=True)
    return differs & ((value - edge).abs() <= TOLERANCE * scale)


def _dense(codes: TopK, n_features: int) -> Float64[Tensor, "token n_features"]:
    dense = torch.zeros(len(codes.values), n_features, dtype=torch.float64)
    return dense.scatter_(1, codes.indices, codes.values.double())


def _parts(
    x: Float[Tensor, "token d_in"], n_features: int
) -> Iterator[Float32[Tensor, "part d_in"]]:
    yield from torch.split(x.float(), max(1, _MAX_SCORES // n_features))

"""A trained sparse autoencoder at inference: activations to codes and back.

Every nucleotide is encoded on its own, in float32, whatever else is in the batch.
Knows nothing of training, files or where activations come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.nn import functional as F

Architecture = Literal["topk", "jumprelu"]

_MAX_SCORES = 1 << 24
"""Encoder outputs held at a time, 64 MB: past the caches more is no faster."""


class Moments(NamedTuple):
    """Mean and standard deviation of every dimension of activations."""

    mean: Float32[Tensor, " d_in"]
    sigma: Float32[Tensor, " d_in"]
    """> 0."""


class TopK(NamedTuple):
    """The features that fire for each nucleotide, strongest first."""

    indices: Int[Tensor, "token k"]
    """int64 feature ids, different within a row."""
    values: Float32[Tensor, "token k"]
    """>= 0; where 0 the feature does not fire and its id means nothing."""


@dataclass(frozen=True, slots=True)
class Sae:
    """A sparse autoencoder, or a transcoder, at inference; read-only.

    encode(x) = the k largest of s = relu(x W_enc + b_enc); with thresholds, the k
    largest of those s that are above their feature's. decode(f) = f W_dec + b_dec.
    That is TopK (Gao et al. 2024, arXiv 2406.04093), and with thresholds JumpReLU
    (Rajamanoharan et al. 2024, arXiv 2407.14435), which is how whatever was trained
    with a batch-wide choice is run one nucleotide at a time; a threshold of 0 is ReLU.
    Whatever was done to activations in training is folded into the weights. May be
    used from several threads.
    """

    W_enc: Float32[Tensor, "d_in d_sae"]
    b_enc: Float32[Tensor, " d_sae"]
    W_dec: Float32[Tensor, "d_sae d_out"]
    b_dec: Float32[Tensor, " d_out"]
    k: int
    """Most features that fire for a nucleotide."""
    threshold: Float32[Tensor, " d_sae"] | None = None
    """>= 0; a feature fires above it."""

    @property
    def architecture(self) -> Architecture:
        """How it decides which features fire, in SAELens' word."""
        return "topk" if self.threshold is None else "jumprelu"

    @property
    def d_in(self) -> int:
        """Width of the activations that it reads."""
        return len(self.W_enc)

    @property
    def d_out(self) -> int:
        """Width of the activations that it rebuilds."""
        return len(self.b_dec)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.b_enc)

    def to(self, device: torch.device | str) -> "Sae":
        """Returns the autoencoder on a device."""
        return replace(
            self,
            W_enc=self.W_enc.to(device),
            b_enc=self.b_enc.to(device),
            W_dec=self.W_dec.to(device),
            b_dec=self.b_dec.to(device),
            threshold=None if self.threshold is None else self.threshold.to(device),
        )

    def fold(self, source: Moments, target: Moments | None = None) -> "Sae":
        """Returns the autoencoder that reads and gives activations as they are.

        Args:
            source: what activations were shifted and scaled by before it saw them.
            target: the same of what it rebuilds; None if that is what it reads.

        Returns:
            Weights with which code and error are exactly the same: W_enc / sigma,
            b_enc - (W_enc / sigma)^T mean, W_dec * sigma, b_dec * sigma + mean (the
            last two with the target's), worked out in float64. Thresholds stay: what
            is compared with them stays.
        """
        mean, sigma = source.mean.double(), source.sigma.double()
        if target is None:
            target = source
        w_enc = self.W_enc.double() / sigma[:, None]
        return replace(
            self,
            W_enc=w_enc.float(),
            b_enc=(self.b_enc.double() - mean @ w_enc).float(),
            W_dec=(self.W_dec.double() * target.sigma.double()).float(),
            b_dec=(self.b_dec.double() * target.sigma + target.mean).float(),
        )

    def encode(self, x: Float[Tensor, "token d_in"], k: int | None = None) -> TopK:
        """Returns the features of each activation.

        Args:
            x: activations on the autoencoder's device.
            k: how many features may fire, 1 to the own k (default); fewer are the
                strongest of the same features.
        """
        k = self.k if k is None else k
        rows = max(1, _MAX_SCORES // self.n_features)
        parts = []
        for part in torch.split(x.float(), rows):
            scores = torch.addmm(self.b_enc, part, self.W_enc)
            if self.threshold is not None:
                scores.masked_fill_(scores <= self.threshold, 0)
            parts.append(torch.topk(scores, k, dim=1))
        return TopK(
            torch.cat([part.indices for part in parts]),
            torch.cat([part.values for part in parts]).relu_(),
        )

    def decode(
        self, indices: Int[Tensor, "token k"], values: Float32[Tensor, "token k"]
    ) -> Float32[Tensor, "token d_out"]:
        """Returns the activations that a code stands for."""
        rebuilt = F.embedding_bag(
            indices, self.W_dec, per_sample_weights=values, mode="sum"
        )
        return rebuilt + self.b_dec


def fvu(
    x: Float[Tensor, "token d_in"],
    rebuilt: Float32[Tensor, "token d_in"],
    mean: Float32[Tensor, " d_in"],
    lengths: Sequence[int],
) -> Float32[Tensor, " sequence"]:
    """Returns each sequence's fraction of variance unexplained.

    Arguments are those of `squares`.

    Returns:
        Squared error over squared distance from the mean, >= 0; near or above 1
        where the codes say nothing about the activations.
    """
    sums = squares(x, rebuilt, mean, lengths)
    return sums[0] / sums[1].clamp_min(1e-12)


def squares(
    x: Float[Tensor, "token d_in"],
    rebuilt: Float32[Tensor, "token d_in"],
    mean: Float32[Tensor, " d_in"],
    lengths: Sequence[int],
) -> Float32[Tensor, "2 sequence"]:
    """Returns each sequence's squared error, and its squared distance from the mean.

    Both may be summed over parts of a sequence; `fvu` is their ratio.

    Args:
        x: activations of all sequences, one after the other.
        rebuilt: what `Sae.decode` made of their codes.
        mean: the dictionary's mean activation, which the variance is taken from.
        lengths: rows of each sequence, >= 1.
    """
    x = x.float()
    error = (x - rebuilt).square().sum(1)
    spread = (x - mean).square().sum(1)
    owners = torch.repeat_interleave(torch.tensor(lengths)).to(x.device)
    sums = torch.zeros(2, len(lengths), device=x.device)
    sums.index_add_(1, owners, torch.stack([error, spread]))
    return sums

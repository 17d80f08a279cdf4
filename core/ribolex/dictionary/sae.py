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

Architecture = Literal["topk"]

_MAX_SCORES = 1 << 24
"""Encoder outputs held at a time, 64 MB: past the caches more is no faster."""


class TopK(NamedTuple):
    """The features that fire for each nucleotide, strongest first."""

    indices: Int[Tensor, "token k"]
    """int64 feature ids, different within a row."""
    values: Float32[Tensor, "token k"]
    """>= 0; where 0 the feature does not fire and its id means nothing."""


@dataclass(frozen=True, slots=True)
class Sae:
    """A TopK autoencoder (Gao et al. 2024, arXiv 2406.04093), read-only.

    encode(x) = the k largest of relu(x W_enc + b_enc); decode(f) = f W_dec + b_dec.
    Whatever was done to activations in training is folded into the weights. May be
    used from several threads.
    """

    W_enc: Float32[Tensor, "d_in d_sae"]
    b_enc: Float32[Tensor, " d_sae"]
    W_dec: Float32[Tensor, "d_sae d_in"]
    b_dec: Float32[Tensor, " d_in"]
    k: int
    architecture: Architecture = "topk"

    @property
    def d_in(self) -> int:
        """Width of the activations."""
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
        )

    def fold(
        self, mean: Float32[Tensor, " d_in"], sigma: Float32[Tensor, " d_in"]
    ) -> "Sae":
        """Returns the autoencoder that reads activations as they are.

        Args:
            mean: what was subtracted from activations before this one saw them.
            sigma: what they were then divided by, > 0.

        Returns:
            Weights with which code and error are exactly the same: W_enc / sigma,
            b_enc - (W_enc / sigma)^T mean, W_dec * sigma, b_dec * sigma + mean, worked
            out in float64.
        """
        mean, sigma = mean.double(), sigma.double()
        w_enc = self.W_enc.double() / sigma[:, None]
        return replace(
            self,
            W_enc=w_enc.float(),
            b_enc=(self.b_enc.double() - mean @ w_enc).float(),
            W_dec=(self.W_dec.double() * sigma).float(),
            b_dec=(self.b_dec.double() * sigma + mean).float(),
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
            parts.append(torch.topk(scores, k, dim=1))
        return TopK(
            torch.cat([part.indices for part in parts]),
            torch.cat([part.values for part in parts]).relu_(),
        )

    def decode(
        self, indices: Int[Tensor, "token k"], values: Float32[Tensor, "token k"]
    ) -> Float32[Tensor, "token d_in"]:
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

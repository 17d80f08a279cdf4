"""An autoencoder as another tool wrote it: what its code computes, and as an `Sae`.

Here is the algebra that folds one into the other, in float64. Knows no file format.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from ribolex.dictionary import Moments, Sae
from ribolex.errors import InvalidRequestError

Choice = Literal["topk", "batchtopk"]


class Forward(NamedTuple):
    """What an autoencoder makes of activations."""

    codes: Float64[Tensor, "token n_features"]
    rebuilt: Float64[Tensor, "token d_out"]


Compute = Callable[[Float64[Tensor, "token d_in"]], Forward]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the user says about a source where its files do not."""

    k: int | None = None
    """Features a nucleotide: of TopK whose file does not tell it."""
    activation_scale: float | None = None
    """What activations were multiplied by, where SAELens left that out."""
    choice: Choice | None = None
    """Which of two that look alike in a file."""
    rescaled: bool = False
    """Whether codes are to be divided by `activation_rescale_factor`."""
    no_input_norm: bool = False
    """Whether an InterProt autoencoder was trained without its LayerNorm."""


@dataclass(frozen=True, slots=True)
class Source:
    """An autoencoder from outside; read-only."""

    tool: str
    """Whose format it is, with its architecture: "SAELens standard"."""
    sae: Sae
    """With everything folded in; `k` of all features where there is no fixed k."""
    forward: Compute
    """The tool's own forward pass in float64, with nothing folded."""
    is_topk: bool
    is_transcoder: bool
    files: tuple[Path, ...]
    place: str = ""
    """Where in which model the files say that it belongs; empty if they do not."""
    notes: tuple[str, ...] = ()
    """What was folded or left out."""

    def standardised(self, moments: Moments) -> "Source":
        """Returns it reading activations that were standardised before it saw them.

        Raises:
            InvalidRequestError: it is a transcoder.
        """
        if self.is_transcoder:
            message = "a transcoder's target has a mean and sigma of its own"
            raise InvalidRequestError("--means", message)
        mean, sigma = moments.mean.double(), moments.sigma.double()
        inner = self.forward

        def forward(x: Float64[Tensor, "token d_in"]) -> Forward:
            codes, rebuilt = inner((x - mean) / sigma)
            return Forward(codes, rebuilt * sigma + mean)

        notes = (*self.notes, "standardisation folded in")
        return replace(self, sae=self.sae.fold(moments), forward=forward, notes=notes)


def express(
    w_enc: Float64[Tensor, "d_in n_features"],
    b_enc: Float64[Tensor, " n_features"],
    w_dec: Float64[Tensor, "n_features d_out"],
    b_dec: Float64[Tensor, " d_out"],
    *,
    k: int | None = None,
    threshold: Float64[Tensor, " n_features"] | None = None,
    subtract: Float64[Tensor, " d_in"] | None = None,
) -> Sae:
    """Returns relu((x - subtract) w_enc + b_enc), thresholded or of k, as an `Sae`.

    Args:
        w_enc: of the tool, turned as our axes have it.
        b_enc: of the tool.
        w_dec: of the tool, turned as our axes have it.
        b_dec: of the tool.
        k: of TopK.
        threshold: what a score must be above, where there is no `k`; 0 if None.
            Below 0 it is 0, for what fires must be above that too.
        subtract: what the tool takes from its input.
    """
    if subtract is not None:
        b_enc = b_enc - subtract @ w_enc
    n_features = len(b_enc)
    floor = None
    if k is None:
        floor = torch.zeros_like(b_enc) if threshold is None else threshold.clamp_min(0)
    return Sae(
        w_enc.float().contiguous(),
        b_enc.float(),
        w_dec.float().contiguous(),
        b_dec.float(),
        n_features if k is None else k,
        None if floor is None else floor.float(),
    )


class Gate(NamedTuple):
    """A gated encoder (Rajamanoharan et al. 2024, arXiv 2404.16014) as JumpReLU's.

    It fires where z + b_gate > 0, with relu(e^r z + b_mag), z = x w_enc. With
    s = e^r z + b_mag that is where s > b_mag - e^r b_gate, since e^r > 0.
    """

    w_enc: Float64[Tensor, "d_in n_features"]
    b_enc: Float64[Tensor, " n_features"]
    threshold: Float64[Tensor, " n_features"]

    @classmethod
    def of(
        cls,
        w_enc: Float64[Tensor, "d_in n_features"],
        b_gate: Float64[Tensor, " n_features"],
        b_mag: Float64[Tensor, " n_features"],
        r_mag: Float64[Tensor, " n_features"],
    ) -> "Gate":
        """Returns weights and thresholds that give the same codes."""
        growth = r_mag.exp()
        return cls(w_enc * growth, b_mag, b_mag - growth * b_gate)


def keep_largest(
    scores: Float64[Tensor, "token n_features"], k: int
) -> Float64[Tensor, "token n_features"]:
    """Returns the k largest scores of each row, negative ones as 0, the rest 0."""
    found = scores.topk(k, dim=-1)
    kept = torch.zeros_like(scores)
    return kept.scatter(-1, found.indices, found.values.relu())

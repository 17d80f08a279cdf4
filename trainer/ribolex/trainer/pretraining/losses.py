"""The two losses of pretraining, on tensors alone."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

_TEMPERATURE = 0.07


def masked_lm_loss(
    logits: Float[Tensor, "row token letter"],
    targets: Int[Tensor, "row token"],
    is_target: Bool[Tensor, "row token"],
) -> Float[Tensor, ""]:
    """Returns the mean cross-entropy of hidden letters in nats (Devlin et al. 2018)."""
    losses = F.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), reduction="none"
    )
    weights = is_target.flatten().float()
    return (losses * weights).sum() / weights.sum().clamp(min=1.0)


def alignment_contrast_loss(
    projected: Float[Tensor, "token width"],
    anchors: Int[Tensor, " pair"],
    partners: Int[Tensor, " pair"],
) -> Float[Tensor, ""]:
    """Returns InfoNCE of recognising the nucleotide in one's alignment column.

    Each anchor must prefer its partner to every other nucleotide of the batch,
    itself left out: -log exp(z_a.z_p / t) / sum_{j != a} exp(z_a.z_j / t), with
    unit vectors z and t = 0.07 (idea: structural alignment learning, Akiyama and
    Sakakibara 2022; loss: van den Oord et al. 2018).
    """
    z = F.normalize(projected.float(), dim=1)
    scores = z[anchors] @ z.T / _TEMPERATURE
    scores = scores.scatter(1, anchors[:, None], -torch.inf)
    return F.cross_entropy(scores, partners)

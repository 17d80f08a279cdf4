"""The losses of pretraining, on tensors alone."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ribolex.trainer.pretraining.corpus import UNKNOWN, UNPAIRED

_TEMPERATURE = 0.07


def masked_lm_loss(
    logits: Float[Tensor, "row token letter"],
    targets: Int[Tensor, "row token"],
    is_target: Bool[Tensor, "row token"],
) -> Float[Tensor, ""]:
    """Returns the mean cross-entropy of hidden letters in nats (Devlin et al. 2018)."""
    return _mean_cross_entropy(logits, targets, is_target)


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


def side_loss(
    logits: Float[Tensor, "row token 3"], spans: Int[Tensor, "row token"]
) -> Float[Tensor, ""]:
    """Returns the mean cross-entropy of unpaired, pairs downstream, pairs upstream.

    Args:
        logits: of the three in this order.
        spans: distance to the partner, UNPAIRED or UNKNOWN; UNKNOWN counts nothing.
    """
    sides = (spans > UNPAIRED).long() + 2 * (spans < UNPAIRED).long()
    return _mean_cross_entropy(logits, sides, spans != UNKNOWN)


def partner_loss(
    scores: Float[Tensor, "row token token"], spans: Int[Tensor, "row token"]
) -> Float[Tensor, ""]:
    """Returns the mean cross-entropy of finding the token that one pairs with.

    Args:
        scores: of every token of the row as partner, for each token.
        spans: as for `side_loss`; a partner outside the row counts nothing.
    """
    n_tokens = spans.shape[1]
    partners = torch.arange(n_tokens, device=spans.device) + spans
    is_inside = (partners >= 0) & (partners < n_tokens)
    has_partner = (spans != UNPAIRED) & (spans != UNKNOWN) & is_inside
    return _mean_cross_entropy(scores, partners.clamp(0, n_tokens - 1), has_partner)


def _mean_cross_entropy(
    logits: Float[Tensor, "row token class"],
    targets: Int[Tensor, "row token"],
    counts: Bool[Tensor, "row token"],
) -> Float[Tensor, ""]:
    """Returns the mean over what counts, 0 where nothing does."""
    losses = F.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), reduction="none"
    )
    weights = counts.flatten().float()
    return (losses * weights).sum() / weights.sum().clamp(min=1.0)

"""What pretraining makes small: masked LM, alignment contrast and structure.

Knows tensors only; nothing of batches, schedules or files.
"""

from typing import NamedTuple, cast

from torch import Tensor, nn

from ribolex.lm import LmConfig, RiNALMo
from ribolex.lm.model import Block, FeedForward, rotation
from ribolex.trainer.pretraining.losses import (
    alignment_contrast_loss,
    masked_lm_loss,
    partner_loss,
    side_loss,
)


class PretrainingModel(nn.Module):
    """The network with what the losses beside masked LM are taken on.

    `projection` for alignment contrast, `side` for the way in which a nucleotide
    pairs; its partner is learned by the first head of block `partner_layer` itself.
    """

    def __init__(
        self, config: LmConfig, projection_width: int, partner_layer: int | None
    ) -> None:
        super().__init__()
        self.partner_layer = partner_layer or max(2, round(config.n_layers * 0.7))
        self.network = RiNALMo(config)
        self.projection = nn.Linear(config.d_model, projection_width, bias=False)
        self.side = nn.Linear(config.d_model, 3)
        self.apply(_initialise)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, FeedForward):
        module.clear_padding()


class Losses(NamedTuple):
    """The losses of one batch, each a mean; 0 where the batch has nothing for it."""

    mlm: Tensor
    contrast: Tensor
    side: Tensor
    partner: Tensor

    def total(self, contrast_weight: float, structure_weight: float) -> Tensor:
        """Returns the weighted sum, which training makes small."""
        structure = structure_weight * (self.side + self.partner)
        return self.mlm + contrast_weight * self.contrast + structure


def losses_of(
    model: PretrainingModel,
    inputs: Tensor,
    targets: Tensor,
    is_target: Tensor,
    spans: Tensor,
    anchors: Tensor | None = None,
    partners: Tensor | None = None,
) -> Losses:
    """Returns the losses of one batch, as `Batch.tensors` gives it."""
    network = model.network
    raws = list(network.raw_outputs(inputs))
    representation = network.normed(len(raws), raws[-1])
    mlm = masked_lm_loss(network.head(representation), targets, is_target)
    side = side_loss(model.side(representation), spans)
    # Taken on the attention itself, the partner is where the next blocks can read it.
    below = model.partner_layer - 1
    turn = rotation(inputs.shape[1], network.config.d_head, inputs.device)
    block = cast(Block, network.blocks[below])
    scores = block.attention.scores(network.normed(below, raws[below - 1]), turn, 0)
    partner = partner_loss(scores, spans)
    if anchors is None or partners is None:
        return Losses(mlm, mlm.new_zeros(()), side, partner)
    projected = model.projection(representation.flatten(0, 1))
    contrast = alignment_contrast_loss(projected, anchors, partners)
    return Losses(mlm, contrast, side, partner)

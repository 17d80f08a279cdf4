"""RiNALMo for inference: the same function as `model.RiNALMo`, several times faster.

Sequences lie in one row without padding; weights are permuted, fused and cast once;
products run in `dtype`, everything between them in float32. Knows tensors only.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import NamedTuple

import torch
from jaxtyping import Complex64, Float
from torch import Tensor
from torch.nn import functional as F

from ribolex.lm.attention import Kernel, choose_kernel
from ribolex.lm.configuration import MAX_NUCLEOTIDES, LmConfig
from ribolex.lm.linear import Product, gated, linear
from ribolex.lm.model import UNMASKED_SHARE, Block, RiNALMo, rotation
from ribolex.lm.packing import Packed
from ribolex.rna.alphabet import MASK

Affine = tuple[Tensor, Tensor]


class _Layer(NamedTuple):
    """One block, prepared."""

    attention_norm: Affine
    qkv: Product
    out: Product
    ffn_norm: Affine
    ffn: Product


class FastNetwork:
    """A RiNALMo prepared to run on one device in one precision.

    It keeps weights of its own: what happens to the network later is not seen.
    """

    def __init__(
        self,
        network: RiNALMo,
        device: torch.device,
        dtype: torch.dtype,
        *,
        n_tokens: int,
        kernel: Kernel | None = None,
    ) -> None:
        """Prepares the weights.

        Args:
            network: float32, on any device; not changed.
            device: where to run.
            dtype: of the matrix products. Attention runs in it on a GPU; on a CPU in
                float32, which is faster there at RiNALMo's head widths, too.
            n_tokens: about how many there will be at a time.
            kernel: of attention; None for the one that fits the device.
        """
        self.config: LmConfig = network.config
        self._dtype = dtype
        self._attention_dtype = torch.float32 if device.type == "cpu" else dtype
        self._kernel = kernel or choose_kernel(device, self._attention_dtype)
        self._embedding = _own(network.embedding.weight, device)
        self._layers = [
            _prepare(block, device, dtype, n_tokens)
            for block in network.blocks
            if isinstance(block, Block)
        ]
        self._final_norm = _affine(network.final_norm, device)
        self._head = deepcopy(network.head).to(device).eval().requires_grad_(False)
        self._turns = _turns(MAX_NUCLEOTIDES + 2, self.config.d_head, device)

    def raw_outputs(self, packed: Packed) -> Iterator[Float[Tensor, "token d_model"]]:
        """Yields the raw output of block 1, 2, ..., float32, when asked for."""
        x, turn = self._embed(packed), self._turn(packed)
        for layer in self._layers:
            read = F.layer_norm(x, x.shape[-1:], *layer.attention_norm)
            x = self._pass(layer, read, turn, packed)
            yield x

    def representation(
        self, packed: Packed, layer: int, read: Float[Tensor, "token d_model"]
    ) -> Float[Tensor, "token d_model"]:
        """Returns the last normed output if what follows a layer reads `read`.

        Args:
            packed: the tokens; only their order and lengths matter.
            layer: 1-based; blocks beyond it are run.
            read: in place of that layer's normed output; not changed.
        """
        turn, read = self._turn(packed), read.clone()
        for number in range(layer, self.config.n_layers):
            raw = self._pass(self._layers[number], read, turn, packed)
            read = self.normed(number + 1, raw)
        return read

    def normed(
        self, layer: int, raw: Float[Tensor, "token d_model"]
    ) -> Float[Tensor, "token d_model"]:
        """Returns what follows reads of layer `layer`'s raw output (1-based)."""
        is_last = layer == self.config.n_layers
        norm = self._final_norm if is_last else self._layers[layer].attention_norm
        return F.layer_norm(raw, raw.shape[-1:], *norm)

    def logits(
        self, representation: Float[Tensor, "token d_model"]
    ) -> Float[Tensor, "token letter"]:
        """Returns logits over the vocabulary from the last normed output, float32."""
        logits: Tensor = self._head(representation)
        return logits

    def _embed(self, packed: Packed) -> Float[Tensor, "token d_model"]:
        x = F.embedding(packed.tokens, self._embedding)
        scale = UNMASKED_SHARE / (1 - packed.mask_share)
        scale = scale.masked_fill(packed.tokens == MASK, 0.0)
        return x.mul_(scale[:, None])

    def _turn(self, packed: Packed) -> Complex64[Tensor, "token 1 pair"]:
        if max(packed.lengths) > len(self._turns):
            n_tokens, d_head = max(packed.lengths), self.config.d_head
            self._turns = _turns(n_tokens, d_head, self._turns.device)
        return self._turns[packed.places][:, None]

    def _pass(
        self,
        layer: _Layer,
        x: Float[Tensor, "token d_model"],
        turn: Complex64[Tensor, "token 1 pair"],
        packed: Packed,
    ) -> Float[Tensor, "token d_model"]:
        """Returns a block's raw output, made in place of what it reads."""
        x += layer.out(self._mix(layer.qkv(x.to(self._dtype)), turn, packed))
        read = F.layer_norm(x, x.shape[-1:], *layer.ffn_norm)
        x += layer.ffn(read.to(self._dtype))
        return x

    def _mix(
        self,
        qkv: Float[Tensor, "token width3"],
        turn: Complex64[Tensor, "token 1 pair"],
        packed: Packed,
    ) -> Float[Tensor, "token d_model"]:
        """Returns what attention makes of query, key and value, before projection."""
        config, n_tokens = self.config, len(qkv)
        if self._attention_dtype == torch.float32:
            qkv = qkv.float()
        n_turned = 2 * config.d_model
        turned = qkv[:, :n_turned].float().view(n_tokens, -1, config.d_head // 2, 2)
        # One complex product turns all pairs; in place where qkv itself is float32.
        torch.view_as_complex(turned).mul_(turn)
        heads = (n_tokens, config.n_heads, config.d_head)
        query, key = turned.to(qkv.dtype).view(n_tokens, 2, *heads[1:]).unbind(1)
        value = qkv[:, n_turned:].view(heads)
        mixed = self._kernel(query, key, value, packed)
        return mixed.flatten(1).to(self._dtype)


def _prepare(
    block: Block, device: torch.device, dtype: torch.dtype, n_tokens: int
) -> _Layer:
    attention, ffn = block.attention, block.ffn
    d_model = attention.out.in_features
    order = _pair_neighbours(d_model, attention.n_heads)
    qkv = attention.qkv.weight.detach()[order].to(device, dtype)
    out = attention.out.weight.detach().to(device, dtype, copy=True)
    return _Layer(
        _affine(block.attention_norm, device),
        linear(qkv, n_tokens),
        linear(out, n_tokens),
        _affine(block.ffn_norm, device),
        gated(
            (_own(ffn.up_gate.weight, device), _own(ffn.up_gate.bias, device)),
            (_own(ffn.down.weight, device), _own(ffn.down.bias, device)),
            ffn.beta.item(),
            dtype,
            n_tokens,
        ),
    )


def _pair_neighbours(d_model: int, n_heads: int) -> Tensor:
    """Returns the order of QKV's rows that makes each rotated pair neighbours.

    Query and key are permuted alike, which leaves their products as they are.
    """
    rows = torch.arange(2 * d_model).view(2 * n_heads, 2, -1).transpose(1, 2)
    return torch.cat([rows.flatten(), torch.arange(2 * d_model, 3 * d_model)])


def _turns(
    n_tokens: int, d_head: int, device: torch.device
) -> Complex64[Tensor, "token pair"]:
    cosine, sine = rotation(n_tokens, d_head, device)
    pairs = d_head // 2
    return torch.complex(cosine[:, :pairs], sine[:, :pairs])


def _affine(norm: torch.nn.LayerNorm, device: torch.device) -> Affine:
    return _own(norm.weight, device), _own(norm.bias, device)


def _own(weight: Tensor, device: torch.device) -> Tensor:
    return weight.detach().to(device, torch.float32, copy=True)

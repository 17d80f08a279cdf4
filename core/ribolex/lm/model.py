"""RiNALMo as a network: embedding, blocks, masked-language-model head.

Follows the published architecture (Penic et al. 2024, arXiv 2403.00043, and its
reference code). Knows tensors only; nothing of sequences, files or batching.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ribolex.lm.configuration import LmConfig
from ribolex.rna.alphabet import MASK, VOCABULARY

Hook = Literal["normed", "raw"]
"""Which vector of a layer is its activation: what the next layer reads, or what
the block puts out."""

# The reference code scales embeddings as if 80 % of 15 % of the tokens were masked,
# in evaluation too.
UNMASKED_SHARE = 1 - 0.15 * 0.8
"""What an embedding is multiplied with that has no masks beside it."""
_ROTARY_BASE = 10_000.0
_FFN_ALIGNMENT = 64


def padded_hidden(ffn_hidden: int) -> int:
    """Returns the FFN width padded for speed; the extra weights are zero."""
    return -(-ffn_hidden // _FFN_ALIGNMENT) * _FFN_ALIGNMENT


def rotation(
    n_tokens: int, d_head: int, device: torch.device
) -> tuple[Float[Tensor, "token d_head"], Float[Tensor, "token d_head"]]:
    """Returns cosine and sine of the rotary embedding (Su et al. 2021), float32.

    Halves are rotated, not neighbours: entry i is paired with i + d_head / 2.
    """
    steps = torch.arange(0, d_head, 2, device=device, dtype=torch.float32)
    frequencies = 1.0 / _ROTARY_BASE ** (steps / d_head)
    places = torch.arange(n_tokens, device=device, dtype=torch.float32)
    angles = torch.outer(places, frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def _rotate(
    x: Float[Tensor, "row head token d_head"],
    cosine: Float[Tensor, "token d_head"],
    sine: Float[Tensor, "token d_head"],
) -> Float[Tensor, "row head token d_head"]:
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


class Attention(nn.Module):
    """Multi-head self-attention without biases, positions by rotation."""

    def __init__(self, config: LmConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(
        self,
        x: Float[Tensor, "row token d_model"],
        turn: tuple[Tensor, Tensor],
        is_visible: Bool[Tensor, "row 1 1 token"] | None,
    ) -> Float[Tensor, "row token d_model"]:
        """Returns the attended stream; `is_visible` marks keys that are no padding."""
        rows, tokens, d_model = x.shape
        qkv = self.qkv(x).view(rows, tokens, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        query, key = _rotate(qkv[0], *turn), _rotate(qkv[1], *turn)
        mixed = self._attend(query.to(x.dtype), key.to(x.dtype), qkv[2], is_visible)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(rows, tokens, d_model))
        return out

    def scores(
        self,
        x: Float[Tensor, "row token d_model"],
        turn: tuple[Tensor, Tensor],
        head: int,
    ) -> Float[Tensor, "row token token"]:
        """Returns one head's scores of every key for every query, before softmax."""
        d_model = self.out.in_features
        d_head = d_model // self.n_heads
        starts = [part * d_model + head * d_head for part in range(2)]
        weight = torch.cat([self.qkv.weight[i : i + d_head] for i in starts])
        query, key = F.linear(x, weight).unsqueeze(1).chunk(2, dim=-1)
        query, key = _rotate(query, *turn).to(x.dtype), _rotate(key, *turn).to(x.dtype)
        scores: Tensor = query @ key.transpose(-1, -2) * d_head**-0.5
        return scores.squeeze(1)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, is_visible: Tensor | None
    ) -> Tensor:
        if self.training and query.device.type == "cpu":
            # Under torch.compile twice as fast on CPU as the fused kernel's backward.
            scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
            attended: Tensor = scores.softmax(dim=-1).to(value.dtype) @ value
            return attended
        return F.scaled_dot_product_attention(query, key, value, attn_mask=is_visible)


class FeedForward(nn.Module):
    """Swish-gated feed-forward with a learned beta (Shazeer 2020)."""

    def __init__(self, config: LmConfig) -> None:
        super().__init__()
        hidden = padded_hidden(config.ffn_hidden)
        self._padding = hidden - config.ffn_hidden
        self.up_gate = nn.Linear(config.d_model, 2 * hidden)
        self.down = nn.Linear(hidden, config.d_model)
        self.beta = nn.Parameter(torch.ones(1))
        self.clear_padding()

    @torch.no_grad()
    def clear_padding(self) -> None:
        """Zeroes the weights of the padding; training leaves them at zero."""
        if self._padding:
            for fused in (self.up_gate.weight, self.up_gate.bias):
                fused.view(2, self.down.in_features, -1)[:, -self._padding :] = 0.0
            self.down.weight[:, -self._padding :] = 0.0

    def forward(
        self, x: Float[Tensor, "row token d_model"]
    ) -> Float[Tensor, "row token d_model"]:
        """Returns W3 (u * sigmoid(beta u) * g) + b3 with u, g two linear maps of x."""
        up, gate = self.up_gate(x).chunk(2, dim=-1)
        gated: Tensor = self.down(up * torch.sigmoid(self.beta * up) * gate)
        return gated


class Block(nn.Module):
    """One RiNALMo block: the stream is overwritten by its own LayerNorm first."""

    def __init__(self, config: LmConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.attention = Attention(config)
        self.ffn_norm = nn.LayerNorm(config.d_model)
        self.ffn = FeedForward(config)

    def forward(
        self,
        x: Float[Tensor, "row token d_model"],
        turn: tuple[Tensor, Tensor],
        is_visible: Bool[Tensor, "row 1 1 token"] | None,
    ) -> Float[Tensor, "row token d_model"]:
        """Returns the block's raw output."""
        x = self.attention_norm(x)
        x = x + self.attention(x, turn, is_visible)
        out: Tensor = x + self.ffn(self.ffn_norm(x))
        return out


class MaskedLmHead(nn.Module):
    """Logits over the vocabulary from the representation."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.dense = nn.Linear(d_model, d_model)
        self.norm = nn.LayerNorm(d_model)
        self.decoder = nn.Linear(d_model, len(VOCABULARY))

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... letter"]:
        """Returns logits in the vocabulary's order."""
        logits: Tensor = self.decoder(self.norm(F.gelu(self.dense(x))))
        return logits


class RiNALMo(nn.Module):
    """The network of one size, random until weights are loaded into it."""

    def __init__(self, config: LmConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(len(VOCABULARY), config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.final_norm = nn.LayerNorm(config.d_model)
        self.head = MaskedLmHead(config.d_model)

    def embed(
        self,
        tokens: Int[Tensor, "row token"],
        is_token: Bool[Tensor, "row token"] | None,
    ) -> Float[Tensor, "row token d_model"]:
        """Returns embeddings, MASK rows zeroed, rescaled by the observed mask share.

        The share counts each row's own tokens, padding left out.
        """
        is_mask = tokens == MASK
        x = self.embedding(tokens).masked_fill(is_mask[..., None], 0.0)
        n_tokens = tokens.shape[1] if is_token is None else is_token.sum(1)
        share = is_mask.sum(1) / n_tokens
        scaled: Tensor = x * (UNMASKED_SHARE / (1 - share))[:, None, None].to(x.dtype)
        return scaled

    def raw_outputs(
        self,
        tokens: Int[Tensor, "row token"],
        is_token: Bool[Tensor, "row token"] | None = None,
    ) -> Iterator[Float[Tensor, "row token d_model"]]:
        """Yields the raw output of block 1, 2, ..., each computed when asked for.

        Args:
            tokens: ids, each row framed by CLS and EOS, padded on the right.
            is_token: false at padding; None when no row has any.
        """
        x = self.embed(tokens, is_token)
        turn = rotation(tokens.shape[1], self.config.d_head, tokens.device)
        is_visible = None if is_token is None else is_token[:, None, None, :]
        for block in self.blocks:
            x = block(x, turn, is_visible)
            yield x

    def normed(
        self, layer: int, raw: Float[Tensor, "row token d_model"]
    ) -> Float[Tensor, "row token d_model"]:
        """Returns what follows reads of layer `layer`'s raw output (1-based)."""
        last = self.config.n_layers
        if layer == last:
            out: Tensor = self.final_norm(raw)
        else:
            out = self.blocks[layer].get_submodule("attention_norm")(raw)
        return out

    def forward(
        self,
        tokens: Int[Tensor, "row token"],
        is_token: Bool[Tensor, "row token"] | None = None,
    ) -> Float[Tensor, "row token d_model"]:
        """Returns the representation: the last layer's normed output."""
        *_, raw = self.raw_outputs(tokens, is_token)
        return self.normed(self.config.n_layers, raw)

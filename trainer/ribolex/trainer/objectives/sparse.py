"""Chooses the features that fire for each row, and rebuilds rows from those alone.

No product of all rows with all features but the encoder's own. On a CPU compiled
loops (`kernels`) do it, elsewhere torch; the two are tested against each other. Knows
nothing of losses.

What a step costs, 1,024 rows of 192, 3,072 features, k 16, milliseconds of one thread
(AVX-512 with bfloat16; other work on the machine, so the ratios count):

    product with the encoder        14.3 in float32, 7.2 in bfloat16 (taken)
    top 16 / top 24 of each row     8.1 by torch.topk; 1.1 / 2.4 here
    top 16 of those 24              1.4 by torch.topk; 0.4 here
    scores of the chosen, float32   0.2
    sum of decoder rows             0.25
    gradient of scores, of weights  0.2, 0.8; dense products: 14 each
    Adam over all weights           0.8 to 1.5
    AuxK, 150 / 1,500 dead          4.2 / 9.4 by loops; 2.2 / 5.4 by dense products

Not taken: the product by blocks of 64 to 256 rows that stay in the cache (7.1 to 7.7);
Adam over the rows with a gradient only, which is another optimiser, for a tenth of the
step at most.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float32, Int, Int32
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ribolex.lm.precision import choose_dtype
from ribolex.trainer.objectives import kernels
from ribolex.trainer.objectives.threads import share
from ribolex.trainer.objectives.weights import Weights


class Chosen(NamedTuple):
    """The features that fire for each row, in no order."""

    indices: Int32[Tensor, "row k"]
    scores: Float32[Tensor, "row k"]
    """>= 0; where 0 nothing fires and the index means nothing."""


@torch.no_grad()
def rough_scores(
    x: Float32[Tensor, "row d_in"], weights: Weights
) -> Float[Tensor, "row n_features"]:
    """Returns W_enc x + b_enc to choose by, in bfloat16 where a CPU multiplies so.

    That halves the one product that a step cannot do without (1,024 rows: 14.3 to 7.2
    ms). What is chosen is scored again in float32.
    """
    on_cpu = x.device.type == "cpu"
    dtype = choose_dtype("auto", x.device) if on_cpu else torch.float32
    b_enc, w_enc = weights.b_enc.to(dtype), weights.W_enc.to(dtype)
    return torch.addmm(b_enc, x.to(dtype), w_enc.T)


@torch.no_grad()
def choose(
    x: Float32[Tensor, "row d_in"],
    weights: Weights,
    rough: Float[Tensor, "row n_features"],
    k: int,
    *,
    floor: float = 0.0,
    among: Int[Tensor, " candidate"] | None = None,
) -> Chosen:
    """Returns the k features of each row whose rough scores are largest.

    Args:
        x: the rows.
        weights: encoder to score with.
        rough: as `rough_scores` gave them.
        k: how many; fewer where fewer are positive.
        floor: >= 0; features with scores not above it may be left out.
        among: features to choose from; all by default.
    """
    if among is not None:
        rough = rough[:, among]
    k = min(k, rough.shape[1])
    if not x.is_cpu:
        top = torch.topk(rough, k, dim=1)
        indices = top.indices if among is None else among[top.indices]
        return Chosen(indices.int(), top.values.float().relu())
    indices = torch.empty(len(x), k, dtype=torch.int32)
    kind = torch.int16 if rough.dtype == torch.bfloat16 else torch.int32
    # A rough score is off by 2^-8 of its terms at most; what is near may be above.
    least = int(torch.tensor(0.98 * floor, dtype=rough.dtype).view(kind))
    share(kernels.select, len(x), (rough.view(kind), least), (indices,))
    if among is not None:
        indices = torch.where(indices < 0, -1, among.int()[indices.clamp_min(0)])
    scores = torch.empty(len(x), k)
    read = x.contiguous(), weights.W_enc, weights.b_enc
    share(kernels.score, len(x), read, (indices, scores))
    return Chosen(indices, scores)


def choose_k(
    x: Float32[Tensor, "row d_in"],
    weights: Weights,
    rough: Float[Tensor, "row n_features"],
    k: int,
) -> Chosen:
    """Returns the k largest scores of each row, by float32 scores of half as many more.

    The last bits of a rough score may hide the k-th; hardly ever half of k more.
    """
    if rough.dtype == torch.float32:
        return choose(x, weights, rough, k)
    found = choose(x, weights, rough, k + (k + 1) // 2)
    k = min(k, rough.shape[1])
    kept, values = torch.empty(len(x), k, dtype=torch.int32), torch.empty(len(x), k)
    share(kernels.keep_largest, len(x), found, (kept, values))
    return Chosen(kept, values)


def rebuild(
    x: Float32[Tensor, "row d_in"],
    weights: Weights,
    chosen: Chosen,
    ends: Sequence[int] = (),
) -> Float32[Tensor, "row group d_out"]:
    """Returns f W_dec without bias, differentiable in all weights but b_dec.

    Args:
        x: the rows.
        weights: encoder and decoder.
        chosen: the features that fire; their scores are differentiated as
            W_enc x + b_enc.
        ends: the feature after the last one of each group; one group by default.
    """
    of_feature = _groups(ends or (weights.n_features,)).to(x.device)
    way: Callable[..., Tensor] = _Rebuilt.apply if x.is_cpu else rebuild_in_torch
    n_groups = max(1, len(ends))
    own = weights.W_enc, weights.b_enc, weights.W_dec
    return way(x, *own, chosen.indices, chosen.scores, of_feature, n_groups)


def rebuild_among(
    x: Float32[Tensor, "row d_in"],
    weights: Weights,
    features: Int[Tensor, " candidate"],
    k: int,
) -> Float32[Tensor, "row d_out"]:
    """Returns f W_dec of each row's k largest scores among some features.

    By dense products, which are the faster way while the features are few.
    """
    own = weights.W_enc, weights.b_enc, weights.W_dec
    w_enc, b_enc, w_dec = (tensor.index_select(0, features) for tensor in own)
    scores = torch.addmm(b_enc, x, w_enc.T).relu()
    if k < len(features):
        scores = scores * (scores >= _kth_largest(scores.detach(), k)[:, None])
    return scores @ w_dec


def _kth_largest(
    scores: Float32[Tensor, "row column"], k: int
) -> Float32[Tensor, " row"]:
    if not scores.is_cpu:
        return torch.topk(scores, k, dim=1).values[:, -1]
    least = torch.empty(len(scores), dtype=torch.int32)
    keys = scores.contiguous().view(torch.int32)
    share(kernels.find_kth_largest, len(scores), (keys, k), (least,))
    return least.view(torch.float32)


def rebuild_in_torch(
    x: Tensor,
    w_enc: Tensor,
    b_enc: Tensor,
    w_dec: Tensor,
    indices: Tensor,
    scores: Tensor,
    groups: Tensor,
    n_groups: int,
) -> Tensor:
    """The same as the compiled loops, for any device."""
    apply: Callable[..., Tensor] = _ChosenScores.apply
    values = apply(x, w_enc, b_enc, indices, scores)
    mine = groups[indices]
    sums = [
        F.embedding_bag(
            indices, w_dec, per_sample_weights=values * (mine == i), mode="sum"
        )
        for i in range(n_groups)
    ]
    return torch.stack(sums, 1)


def _groups(ends: Sequence[int]) -> Int32[Tensor, " n_features"]:
    sizes = torch.tensor(ends).diff(prepend=torch.tensor([0]))
    return torch.arange(len(ends), dtype=torch.int32).repeat_interleave(sizes)


class _Rebuilt(torch.autograd.Function):
    """Forward and backward by the compiled loops."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_enc: Tensor,
        b_enc: Tensor,
        w_dec: Tensor,
        indices: Tensor,
        scores: Tensor,
        groups: Tensor,
        n_groups: int,
    ) -> Tensor:
        indices, scores = indices.contiguous(), scores.contiguous()
        ctx.save_for_backward(x, w_dec, indices, scores, groups)
        out = torch.empty(len(x), n_groups, w_dec.shape[1])
        read = w_dec, groups, indices, scores
        share(kernels.sum_rows, len(x), read, (out,))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, w_dec, indices, scores, groups = ctx.saved_tensors
        of_sums, of_scores = gradients[0].contiguous(), torch.empty_like(scores)
        read = w_dec, groups, indices, scores, of_sums
        share(kernels.score_gradients, len(x), read, (of_scores,))
        n_features = len(w_dec)
        bounds = torch.empty(n_features + 1, dtype=torch.int64)
        places = torch.empty(scores.numel(), dtype=torch.int64)
        kernels.sort_by_feature(*(t.numpy() for t in (indices, scores, bounds, places)))
        x = x.contiguous()
        to_enc, to_dec = torch.empty(n_features, x.shape[1]), torch.empty_like(w_dec)
        to_bias = torch.empty(n_features)
        by_feature = x, groups, scores, of_scores, of_sums, bounds, places
        written = to_enc, to_bias, to_dec
        share(kernels.weight_gradients, n_features, by_feature, written)
        return None, to_enc, to_bias, to_dec, None, None, None, None


class _ChosenScores(torch.autograd.Function):
    """W_enc[i] x + b_enc[i] for the chosen features only, where the score is above 0.

    The scores are known already; the gradient of W_enc row f is the sum of the rows x
    that chose f, each times its own gradient: an embedding bag over the transposed
    choice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_enc: Tensor,
        b_enc: Tensor,
        indices: Tensor,
        scores: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, indices, scores)
        ctx.n_features = len(b_enc)
        return scores.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, indices, scores = ctx.saved_tensors
        k = indices.shape[1]
        features, order = torch.sort(indices.reshape(-1).long(), stable=True)
        counts = torch.bincount(features, minlength=ctx.n_features)
        weights = (gradients[0] * (scores > 0)).reshape(-1)[order]
        w_enc = F.embedding_bag(
            order // k,
            x,
            torch.cumsum(counts, 0) - counts,
            per_sample_weights=weights,
            mode="sum",
        )
        b_enc = torch.zeros_like(w_enc[:, 0]).index_add_(0, features, weights)
        return None, w_enc, b_enc, None, None

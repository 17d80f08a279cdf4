"""What every objective trains: encoder and decoder, and what is counted on the way."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ribolex.dictionary import Sae
from ribolex.trainer.objectives import kernels
from ribolex.trainer.objectives.threads import share


class Weights(nn.Module):
    """Encoder and decoder of n features, float32; mutable, of one thread.

    Rows of `W_enc` and `W_dec` are features. `idle_rows` counts the rows since each
    feature fired, `threshold` and `n_thresholds` are an average of what an objective
    that chooses over a batch kept at the least.
    """

    def __init__(
        self,
        W_enc: Float[Tensor, "n_features d_in"],
        b_enc: Float[Tensor, " n_features"],
        W_dec: Float[Tensor, "n_features d_out"],
        b_dec: Float[Tensor, " d_out"],
    ) -> None:
        """Copies what is given."""
        super().__init__()
        self.W_enc = nn.Parameter(W_enc.clone())
        self.b_enc = nn.Parameter(b_enc.clone())
        self.W_dec = nn.Parameter(W_dec.clone())
        self.b_dec = nn.Parameter(b_dec.clone())
        self.idle_rows: Tensor
        self.threshold: Tensor
        self.n_thresholds: Tensor
        self.register_buffer("idle_rows", torch.zeros(len(W_enc), dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros((), dtype=torch.float64))
        self.register_buffer("n_thresholds", torch.zeros((), dtype=torch.int64))

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.b_enc)

    @torch.no_grad()
    def project_gradient(self) -> None:
        """Removes from the decoder's gradient what would only change row lengths."""
        rows, gradient = self.W_dec.detach(), self.W_dec.grad
        if gradient is None:
            return
        if rows.is_cpu:
            share(kernels.remove_along, len(rows), (rows,), (gradient,))
        else:
            gradient.sub_((gradient * rows).sum(1, keepdim=True) * rows)

    @torch.no_grad()
    def normalise(self) -> None:
        """Gives every decoder row length 1."""
        rows = self.W_dec.detach()
        if rows.is_cpu:
            share(kernels.give_length_1, len(rows), (), (rows,))
        else:
            rows.div_(rows.norm(dim=1, keepdim=True).clamp_min(1e-12))

    def to_sae(self, k: int, threshold: float | None = None) -> Sae:
        """Returns a copy for inference, on the CPU.

        Args:
            k: most features that fire for a row.
            threshold: what a score must be above; None for plain TopK.
        """
        b_enc = self.b_enc.detach().cpu().clone()
        return Sae(
            W_enc=self.W_enc.detach().cpu().T.contiguous(),
            b_enc=b_enc,
            W_dec=self.W_dec.detach().cpu().clone(),
            b_dec=self.b_dec.detach().cpu().clone(),
            k=k,
            threshold=None if threshold is None else torch.full_like(b_enc, threshold),
        )

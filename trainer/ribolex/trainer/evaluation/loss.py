"""Masked-language-model loss recovered: does the model still work on what is rebuilt?

A layer's activations are replaced by the dictionary's reconstruction of them, by
their mean and by zero; what the model then loses in predicting masked letters tells
how much of what it uses the dictionary keeps. Knows nothing of how it was trained.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ribolex.dictionary import Dictionary
from ribolex.lm import LanguageModel, Replacement
from ribolex.trainer.pretraining.scores import choose_letters, predict_letters


@dataclass(frozen=True, slots=True)
class LossRecovered:
    """Cross-entropies of masked letters, nats; 15 % of each RNA, all masked."""

    clean: float
    """Of the model as it is."""
    rebuilt: float
    """With the dictionary's reconstruction in place of the layer."""
    mean: float
    """With the mean activation in place of every nucleotide's."""
    zero: float
    """With zeros."""
    n_letters: int

    @property
    def recovered(self) -> float | None:
        """1 - (rebuilt - clean) / (mean - clean); None if the mean loses nothing."""
        return self._recovered(self.mean)

    @property
    def recovered_of_zero(self) -> float | None:
        """The same with zeros in place of the mean: a weaker ablation, as a rule."""
        return self._recovered(self.zero)

    def _recovered(self, ablated: float) -> float | None:
        if ablated <= self.clean:
            return None
        return 1 - (self.rebuilt - self.clean) / (ablated - self.clean)


def measure_loss(
    dictionary: Dictionary, lm: LanguageModel, sequences: Sequence[str], seed: int = 0
) -> LossRecovered:
    """Returns the model's losses with a layer whole, rebuilt and ablated.

    A transcoder's reconstruction takes the place of what it is trained to give.

    Args:
        dictionary: of nucleotides; for this model.
        lm: on the device of the dictionary's weights.
        sequences: one or more with 15 % of whose letters the loss is measured.
        seed: of the choice of letters.
    """
    identity, sae = dictionary.identity, dictionary.sae
    target = identity.target
    is_difference = target is not None and target.is_difference
    mean = dictionary.mean
    if is_difference:
        mean = mean + torch.tensor(identity.standardisation.mean)

    def rebuild(x: Tensor) -> Tensor:
        rebuilt = sae.decode(*sae.encode(x))
        return x + rebuilt if is_difference else rebuilt

    def constant(value: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: value.to(x.device).expand_as(x)

    chosen = choose_letters(sequences, seed)
    layer = identity.layer if target is None else target.layer

    def score(change: Callable[[Tensor], Tensor] | None) -> float:
        replacement = None
        if change is not None:
            replacement = Replacement(layer, identity.layer, identity.hook, change)
        found = predict_letters(lm, sequences, chosen, replacement=replacement)
        return found.score().cross_entropy

    return LossRecovered(
        clean=score(None),
        rebuilt=score(rebuild),
        mean=score(constant(mean)),
        zero=score(constant(torch.zeros_like(mean))),
        n_letters=sum(map(len, chosen)),
    )

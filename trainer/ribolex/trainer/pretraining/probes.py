"""Linear probes: what of an RNA's structure a straight cut through a layer shows.

Fitted on training families, scored on validation families. Labels are consensus
structures projected on RNAs; RNAs that keep no pair are left out. Knows nothing of
whether structure was taught or has emerged.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Float32, Int64
from torch import Tensor
from torch.nn import functional as F

from ribolex.lm import LanguageModel
from ribolex.rna import Rna
from ribolex.rna.elements import ELEMENTS, elements
from ribolex.rna.local_alignment import UNKNOWN, NucleotideArrays

_REACH = 15
_PENALTY = 1e-3
_STEPS = 80
_FLAT = 1e-5
"""Slope at which a regression's search ends."""
_RNAS_A_PART = 256
_STEM = list(ELEMENTS).index("S")


@dataclass(frozen=True, slots=True)
class ProbeScore:
    """How well structure is read off on families that nothing was fitted on."""

    features: str
    """What the probe reads: "layer 3"."""
    paired_auroc: float
    element_auroc: float
    """Mean over the elements S H B I M X E of one against the rest."""
    element_accuracy: float


class ProbeRnas(NamedTuple):
    """RNAs with known elements."""

    sequences: Sequence[str]
    elements: Int64[np.ndarray, " nucleotide"]
    """Index in `ELEMENTS`, all RNAs one after the other."""


def choose_probe_rnas(
    rnas: Iterable[Rna], n_nucleotides: int, longest: int = 512, seed: int = 0
) -> ProbeRnas:
    """Returns RNAs that keep a pair: one of each family, a second of each, and so on.

    Args:
        rnas: with structures; those without are passed over.
        n_nucleotides: where to stop.
        longest: nucleotides of an RNA at most.
        seed: of the order in families.
    """
    families: dict[str, list[Rna]] = defaultdict(list)
    for rna in rnas:
        if "(" in (rna.structure or "") and len(rna.sequence) <= longest:
            families[rna.metadata.get("family_acc", rna.name)].append(rna)
    generator = np.random.default_rng(seed)
    orders = {name: generator.permutation(len(x)) for name, x in families.items()}
    chosen: list[Rna] = []
    total = depth = 0
    while total < n_nucleotides and any(depth < len(x) for x in families.values()):
        for name, members in families.items():
            if depth < len(members) and total < n_nucleotides:
                chosen.append(members[orders[name][depth]])
                total += len(chosen[-1].sequence)
        depth += 1
    names = list(ELEMENTS)
    letters = [elements(rna.structure or "", rna.name) for rna in chosen]
    labels = [names.index(letter) for text in letters for letter in text]
    return ProbeRnas([rna.sequence for rna in chosen], np.array(labels, np.int64))


class LayerProbes:
    """Probes of a model's layers, which the model reads all at once when asked first.

    Args:
        lm: the model.
        training: what is fitted on.
        held_out: what is scored on.
        layers: those that may be asked for.
    """

    def __init__(
        self,
        lm: LanguageModel,
        training: ProbeRnas,
        held_out: ProbeRnas,
        layers: Sequence[int],
    ) -> None:
        self._lm = lm
        self._parts = training, held_out
        self._layers = layers

    def score(self, layer: int) -> ProbeScore:
        """Returns the score of probes on one layer."""
        (fitted, labels), (scored, true) = (
            (inputs[layer].astype(np.float32), part.elements)
            for inputs, part in zip(self._activations, self._parts, strict=True)
        )
        return probe(f"layer {layer}", fitted, labels, scored, true)

    @cached_property
    def _activations(self) -> list[dict[int, Float16[np.ndarray, "_n d_model"]]]:
        return [
            _activations(self._lm, part.sequences, self._layers) for part in self._parts
        ]


def probe_windows(training: ProbeRnas, held_out: ProbeRnas) -> ProbeScore:
    """Returns the score of probes on the 31 letters around each nucleotide."""
    fitted, scored = (_windows(part.sequences) for part in (training, held_out))
    name = f"one-hot letters, {2 * _REACH + 1} nt"
    return probe(name, fitted, training.elements, scored, held_out.elements)


def probe(
    name: str,
    fitted: Float32[np.ndarray, "nucleotide width"],
    fitted_labels: Int64[np.ndarray, " nucleotide"],
    scored: Float32[np.ndarray, "_held_out width"],
    scored_labels: Int64[np.ndarray, " _held_out"],
) -> ProbeScore:
    """Returns the scores of two logistic regressions: paired or not, and elements.

    Inputs are standardised by the mean and deviation of the fitted ones.
    """
    mean, deviation = fitted.mean(axis=0), fitted.std(axis=0) + 1e-6
    x = torch.from_numpy((fitted - mean) / deviation)
    held_out = torch.from_numpy((scored - mean) / deviation)
    labels = torch.from_numpy(fitted_labels)
    is_paired = scored_labels == _STEM
    basis = _basis(x)
    x, held_out = x @ basis, held_out @ basis
    paired = _regress(x, (labels == _STEM).long(), 2, held_out, basis)
    logits = _regress(x, labels, len(ELEMENTS), held_out, basis)
    one_by_one = [
        auroc(logits[:, i], scored_labels == i)
        for i in range(len(ELEMENTS))
        if 0 < (scored_labels == i).sum() < len(scored_labels)
    ]
    return ProbeScore(
        name,
        auroc(paired[:, 1] - paired[:, 0], is_paired),
        float(np.mean(one_by_one)),
        float((logits.argmax(axis=1) == scored_labels).mean()),
    )


def auroc(
    scores: Float[np.ndarray, " item"], is_positive: Bool[np.ndarray, " item"]
) -> float:
    """Returns the share of pairs (positive, negative) in the right order.

    Ties count half.
    """
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    n = int(is_positive.sum())
    above = ranks[is_positive].sum() - n * (n + 1) / 2
    return float(above / max(1, n * (len(scores) - n)))


def _basis(x: Float[Tensor, "nucleotide width"]) -> Float[Tensor, "width width"]:
    """Returns directions along which a regression's loss is curved nearly alike.

    On them the search needs a third of the steps, and ends at the same weights.
    """
    curvature = x.T @ x / len(x) + 8 * _PENALTY * torch.eye(x.shape[1])
    root = torch.linalg.cholesky(curvature.double())
    basis: Tensor = torch.linalg.inv(root).T.float().contiguous()
    return basis


def _regress(
    x: Float[Tensor, "nucleotide width"],
    labels: Tensor,
    n_classes: int,
    held_out: Float[Tensor, "_held_out width"],
    basis: Float[Tensor, "width width"],
) -> Float32[np.ndarray, "_held_out n_classes"]:
    """Returns held-out logits of a softmax regression with a squared penalty.

    The penalty is on the weights of what was there before the change of basis.
    """
    weights = torch.zeros(x.shape[1], n_classes, requires_grad=True)
    bias = torch.zeros(n_classes, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights, bias],
        max_iter=_STEPS,
        tolerance_grad=_FLAT,
        line_search_fn="strong_wolfe",
    )

    def step() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(torch.addmm(bias, x, weights), labels)
        loss = loss + _PENALTY * (basis @ weights).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(step)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        logits: Float32[np.ndarray, "_held_out n_classes"]
        logits = torch.addmm(bias, held_out, weights).numpy()
    return logits


def _activations(
    lm: LanguageModel, sequences: Sequence[str], layers: Sequence[int]
) -> dict[int, Float16[np.ndarray, "nucleotide d_model"]]:
    shape = sum(map(len, sequences)), lm.config.d_model
    out = {layer: np.empty(shape, np.float16) for layer in layers}
    at = 0
    for start in range(0, len(sequences), _RNAS_A_PART):
        for rna in lm.activations(sequences[start : start + _RNAS_A_PART], layers):
            stop = at + len(rna[layers[0]])
            for layer in layers:
                out[layer][at:stop] = rna[layer]
            at = stop
    return out


def _windows(sequences: Sequence[str]) -> Float32[np.ndarray, "nucleotide width"]:
    """Returns the letters from 15 before to 15 after; none beyond the RNA's ends."""
    gap = "N" * _REACH
    text = gap + gap.join(sequences) + gap
    letters = NucleotideArrays.of_sequences([text]).letters
    n_around = 2 * _REACH + 1
    windows = np.lib.stride_tricks.sliding_window_view(letters, n_around)
    inside = np.concatenate(
        [
            np.arange(len(sequence)) + start
            for sequence, start in zip(sequences, _starts(sequences), strict=True)
        ]
    )
    one_hot = windows[inside][:, :, None] == np.arange(UNKNOWN)
    out: Float32[np.ndarray, "nucleotide width"]
    out = one_hot.reshape(len(inside), -1).astype(np.float32)
    return out


def _starts(sequences: Sequence[str]) -> list[int]:
    """Returns where each sequence starts in the windows' count."""
    starts, at = [], 0
    for sequence in sequences:
        starts.append(at)
        at += len(sequence) + _REACH
    return starts

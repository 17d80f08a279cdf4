"""Labels that a language model writes, and how well they predict a feature.

After Gujral et al. (PNAS 2025): the model sees some RNAs with how strongly the feature
fires in each and writes one sentence; then it reads other RNAs, without activations,
and predicts them from the sentence. The score is Pearson's r; the control is the same
with another feature's sentence. What is sent: names, families, types and a window of
letters and structure of each RNA. Knows nothing of HTTP.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from ribolex.trainer.activations import Progress
from ribolex.trainer.annotation.endpoint import Endpoint
from ribolex.trainer.annotation.material import Material
from ribolex.trainer.annotation.significance import Measured

MIN_ACTIVE = 34
"""RNAs in which a feature must fire to be asked about."""

_A_BIN = (6, 3, 3, 3, 2)
"""RNAs of every fifth of the largest activation, strongest first."""
_INACTIVE = 15
_HALF_WINDOW = 15
_MAX_LABEL = 300
_KEYS = ("family", "type", "clan")


class Suggestion(NamedTuple):
    """A label with its score; NaN where predictions do not vary."""

    label: str
    score: float
    control: float


@dataclass(frozen=True, slots=True)
class Item:
    """An RNA as the language model is shown it."""

    shown: str
    activation: float
    """0..1, over the largest of the feature."""


def interpret(
    model: Endpoint,
    material: Material,
    measured: Measured,
    is_supported: Bool[np.ndarray, " n_features"],
    n_asked: int,
    progress: Progress,
    seed: int = 0,
) -> dict[int, Suggestion]:
    """Returns a language model's labels of some features.

    Args:
        model: who is asked, three times a feature.
        material: the RNAs.
        measured: of the features.
        is_supported: which features may be asked about.
        n_asked: how many are, at most; drawn by chance, so that scores tell of all.
        progress: is told about questions.
        seed: of the draws.

    Raises:
        NotReadyError: the language model does not answer.
    """
    generator = np.random.default_rng(seed)
    n_rnas = np.diff(measured.walk.peaks.offsets)
    eligible = np.flatnonzero(is_supported & (n_rnas >= MIN_ACTIVE))
    chosen = np.sort(generator.permutation(eligible)[:n_asked]).tolist()
    labels: dict[int, str] = {}
    held_out: dict[int, list[Item]] = {}
    for done, feature in enumerate(chosen, start=1):
        items = draw_items(material, measured, feature, generator)
        shown, held_out[feature] = items[::2], items[1::2]
        labels[feature] = _one_line(model.ask(ask_for_label(shown)))
        progress(done, 3 * len(chosen))
    out = {}
    for place, feature in enumerate(chosen):
        # The next feature's label: a derangement, if there are two at least.
        other = chosen[(place + 1) % len(chosen)]
        scores = [
            _score(model, labels[each], held_out[feature]) for each in (feature, other)
        ]
        out[feature] = Suggestion(labels[feature], *scores)
        progress(len(chosen) + 2 * (place + 1), 3 * len(chosen))
    return out


def draw_items(
    material: Material,
    measured: Measured,
    feature: int,
    generator: np.random.Generator,
) -> list[Item]:
    """Returns RNAs of all strengths and some where it is silent, in random order.

    Every other one is to be shown, the rest held out.
    """
    peaks = measured.walk.peaks
    own = slice(int(peaks.offsets[feature]), int(peaks.offsets[feature + 1]))
    rnas, values = peaks.rows[own], peaks.values[own].astype(np.float64)
    rows = measured.walk.peak_rows[own]
    share = values / values.max()
    bins = np.minimum(((1 - share) * len(_A_BIN)).astype(int), len(_A_BIN) - 1)
    chosen: list[int] = []
    for number, wanted in enumerate(_A_BIN):
        members = generator.permutation(np.flatnonzero(bins == number))
        chosen += members[:wanted].tolist()
    # What a bin lacks is taken from anywhere.
    rest = generator.permutation(np.setdiff1d(np.arange(len(rnas)), chosen))
    chosen += rest[: sum(_A_BIN) - len(chosen)].tolist()
    middles = material.positions[rows]
    items = [
        Item(_show(material, int(rnas[i]), int(middles[i])), float(share[i]))
        for i in chosen
    ]
    silent = np.setdiff1d(np.arange(len(material.rnas)), rnas)
    for rna in generator.permutation(silent)[:_INACTIVE].tolist():
        middle = int(generator.integers(max(len(material.rnas[rna].sequence), 1)))
        items.append(Item(_show(material, rna, middle), 0.0))
    return [items[i] for i in generator.permutation(len(items))]


def ask_for_label(shown: Sequence[Item]) -> str:
    """Returns the question for a label."""
    lines = [f"activation {item.activation:.2f} | {item.shown}" for item in shown]
    return (
        "A feature of a neural network fires in some RNAs and not in others. Each line "
        "is one RNA: how strongly it fires (0 not at all, 1 most strongly), what is "
        "known of the RNA, and a window of its sequence around the strongest place, "
        "with its structure in dot-bracket where that is known.\n\n"
        + "\n".join(lines)
        + "\n\nIn one sentence of at most 30 words, say what makes it fire, as "
        "specifically as these RNAs allow: a motif, a structure element, an RNA type "
        "or family. Answer with the sentence alone."
    )


def ask_for_values(label: str, items: Sequence[Item]) -> str:
    """Returns the question for predictions."""
    lines = [f"{number}. {item.shown}" for number, item in enumerate(items, start=1)]
    return (
        f"A feature of a neural network fires in RNAs as follows: {label}\n\n"
        "How strongly does it fire in each of these RNAs, from 0 (not at all) to 1 "
        "(most strongly)?\n\n"
        + "\n".join(lines)
        + f"\n\nAnswer with a JSON list of {len(items)} numbers and nothing else."
    )


def read_values(answer: str, n: int) -> Float64[np.ndarray, " item"] | None:
    """Returns the numbers of an answer, cut to 0..1; None if it is no such list."""
    found = re.search(r"\[[^\[\]]*\]", answer)
    try:
        values = json.loads(found.group()) if found else None
    except ValueError:
        return None
    if not isinstance(values, list) or len(values) != n:
        return None
    if not all(isinstance(each, int | float) for each in values):
        return None
    out: Float64[np.ndarray, " item"]
    out = np.clip(np.nan_to_num(np.array(values, np.float64)), 0.0, 1.0)
    return out


def _score(model: Endpoint, label: str, items: Sequence[Item]) -> float:
    """Returns Pearson's r; 0 if the model's answer cannot be read."""
    predicted = read_values(model.ask(ask_for_values(label, items)), len(items))
    if predicted is None:
        return 0.0
    truth = np.array([item.activation for item in items])
    if predicted.std() == 0 or truth.std() == 0:
        return 0.0
    return float(np.corrcoef(predicted, truth)[0, 1])


def _show(material: Material, rna: int, middle: int) -> str:
    one = material.rnas[rna]
    start, stop = max(middle - _HALF_WINDOW, 0), middle + _HALF_WINDOW + 1
    if middle < 0:  # a row of the whole RNA
        start, stop = 0, 4 * _HALF_WINDOW
    told = [f"{key} {one.metadata[key]}" for key in _KEYS if one.metadata.get(key)]
    window = one.sequence[start:stop]
    if one.structure:
        window += f" {one.structure[start:stop]}"
    return f"{one.name}; {', '.join(told) or 'nothing known'}; {window}"


def _one_line(answer: str) -> str:
    return " ".join(answer.split())[:_MAX_LABEL]

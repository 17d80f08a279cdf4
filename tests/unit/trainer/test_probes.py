"""Probes find what is there and nothing where there is nothing."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp

from ribolex.lm import LanguageModel
from ribolex.rna import Rna
from ribolex.rna.elements import ELEMENTS
from ribolex.trainer.pretraining import probes
from ribolex.trainer.pretraining.probes import (
    LayerProbes,
    auroc,
    choose_probe_rnas,
    probe,
    probe_windows,
)


def labels_and_noise(seed: int, n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 7, n), generator.normal(size=(n, 12)).astype(
        np.float32
    )


def test_planted_signal_is_separated_and_noise_is_not() -> None:
    labels, noise = labels_and_noise(0)
    held_out_labels, held_out_noise = labels_and_noise(1)
    nothing = probe("noise", noise, labels, held_out_noise, held_out_labels)
    assert nothing.paired_auroc == pytest.approx(0.5, abs=0.04)
    assert nothing.element_auroc == pytest.approx(0.5, abs=0.04)
    planted, held_out = noise.copy(), held_out_noise.copy()
    planted[np.arange(len(labels)), labels] += 6
    held_out[np.arange(len(labels)), held_out_labels] += 6
    found = probe("planted", planted, labels, held_out, held_out_labels)
    assert found.paired_auroc > 0.99
    assert found.element_auroc > 0.99
    assert found.element_accuracy > 0.97


def test_scale_and_offset_of_inputs_do_not_matter() -> None:
    labels, x = labels_and_noise(0, 600)
    x[:, 0] += labels == 0
    plain = probe("x", x, labels, x, labels)
    scaled = probe("x", 100 * x + 7, labels, 100 * x + 7, labels)
    assert scaled.paired_auroc == pytest.approx(plain.paired_auroc, abs=1e-3)


def test_change_of_basis_leaves_the_best_weights_alone() -> None:
    labels, x = labels_and_noise(0, 500)
    x = x[:, :4] @ np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(labels)
    basis = probes._basis(inputs)
    found = probes._regress(inputs @ basis, targets, 7, inputs @ basis, basis)

    def loss(flat: np.ndarray) -> float:
        weights, bias = flat[:28].reshape(4, 7), flat[28:]
        logits = x @ weights + bias
        chosen = logits[np.arange(500), labels]
        fit = (logsumexp(logits, axis=1) - chosen).mean()
        return float(fit + probes._PENALTY * (weights**2).sum())

    best = minimize(loss, np.zeros(35)).x
    expected = x @ best[:28].reshape(4, 7) + best[28:]
    found -= found.mean(axis=1, keepdims=True)
    expected -= expected.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_auroc_counts_pairs_and_ties_half() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.8])
    is_positive = np.array([False, False, True, True])
    assert auroc(scores, is_positive) == pytest.approx((1 + 0.5 + 1 + 1) / 4)


def hairpin(family: int, i: int, structure: str = "..((((....))))..") -> Rna:
    letters = "".join(np.random.default_rng([family, i]).choice(list("ACGU"), 16))
    return Rna(f"{family}/{i}", letters, structure, {"family_acc": f"RF{family}"})


def test_rnas_without_pairs_are_left_out_and_families_take_turns() -> None:
    rnas = [hairpin(0, i) for i in range(50)] + [hairpin(1, 0), hairpin(2, 0, "." * 16)]
    chosen = choose_probe_rnas([*rnas, Rna("bare", "ACGU")], 40)
    families = {rna.sequence: rna.metadata["family_acc"] for rna in rnas}
    assert [families[x] for x in chosen.sequences] == ["RF0", "RF1", "RF0"]
    letters = "".join(list(ELEMENTS)[i] for i in chosen.elements[:16])
    assert letters == "EESSSSHHHHSSSSEE"


def test_everything_is_chosen_where_there_is_too_little() -> None:
    assert (
        len(choose_probe_rnas([hairpin(0, i) for i in range(3)], 10_000).sequences) == 3
    )


def test_windows_see_neighbours_and_not_the_next_rna() -> None:
    # Stems are told by the letter before; the first nucleotide has none.
    structure = "..((((....)))).."
    letters = "".join("ACGU"[i % 4] for i in range(16))
    rnas = [Rna(str(i), letters, structure, {"family_acc": str(i)}) for i in range(20)]
    chosen = choose_probe_rnas(rnas, 1000)
    score = probe_windows(chosen, chosen)
    assert score.features == "one-hot letters, 31 nt"
    assert score.element_accuracy == 1


def test_every_layer_is_probed(lm: LanguageModel) -> None:
    chosen = choose_probe_rnas([hairpin(f, i) for f in range(4) for i in range(9)], 500)
    layers = list(range(1, lm.config.n_layers + 1))
    of_layers = LayerProbes(lm, chosen, chosen, layers)
    scores = [of_layers.score(layer) for layer in layers]
    assert [score.features for score in scores] == [f"layer {n}" for n in layers]
    assert all(0 <= score.paired_auroc <= 1 for score in scores)

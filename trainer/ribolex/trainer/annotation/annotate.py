"""Describes the features of an autoencoder from where they fire on RNAs.

Knows nothing of how the autoencoder was trained.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from ribolex.dictionary import FeatureTable, Sae
from ribolex.rna import Rna
from ribolex.trainer.activations import Activations, Progress
from ribolex.trainer.annotation.controls import N_RANDOM, Controls, read_shuffled
from ribolex.trainer.annotation.findings import Finding, Random, find
from ribolex.trainer.annotation.firings import Firings
from ribolex.trainer.annotation.flips import flip
from ribolex.trainer.annotation.interpretation import interpret
from ribolex.trainer.annotation.measuring import Steps, label, measure, silent, weigh
from ribolex.trainer.annotation.significance import assess
from ribolex.trainer.annotation.table import (
    count_flips,
    count_kinds,
    describe_basis,
    suggest,
    tabulate,
)

N_FLIPS = 256
"""Features of coin flips that a dictionary is held against, at most."""

Note = Callable[[str, int, int], None]
"""Is told a step, how much of it is done, and of how much."""

_SHARES = {"encode": 0.3, "walk": 0.25, "rank": 0.1, "shuffled": 0.1, "random": 0.25}
"""What each step takes, about."""


def annotate(
    sae: Sae,
    activations: Activations,
    rnas: Sequence[Rna],
    note: Note,
    controls: Controls = Controls(),  # noqa: B008
) -> FeatureTable:
    """Returns statistics, evidence, labels and examples of all features.

    Args:
        sae: as exported: standardisation folded in.
        activations: of RNAs, the training RNAs as a rule.
        rnas: those RNAs, in the same order.
        note: is told each step.
        controls: what features are held against.

    Raises:
        InvalidRequestError: an RNA's structure is none.
        OSError: the temporary folder is full.
    """
    on = label(rnas, activations)
    material = on.material

    def told(step: str) -> Progress:
        return lambda done, total: note(step, done, total)

    steps = Steps(told("encode"), told("walk"), told("rank"))
    measured = measure(sae, on, steps)
    significance = assess(measured, material)
    shuffled = read_shuffled(
        sae, measured.firings, material, controls, told("shuffled")
    )
    random: Random | None = None
    random_findings: dict[int, list[Finding]] = {}
    if controls.random is not None:
        steps = Steps(told("random"), silent, silent)
        other = measure(controls.random, on, steps, N_RANDOM)
        tests = assess(other, material)
        random = Random.of(other, tests)
        random_findings = find(other, tests, material, None)
    coins = _flipped(measured.firings, material.n_rows)
    flips = weigh(flip(coins, material), on, Steps(silent, silent, silent))
    flip_findings = find(flips, assess(flips, material), material, None)
    findings = find(measured, significance, material, random)
    basis = describe_basis(material, significance, findings)
    if controls.random is not None:
        n_random = min(N_RANDOM, controls.random.n_features)
        basis["random control"] = f"{controls.random_what}, {n_random} features"
        basis |= count_kinds(random_findings, "random ")
    basis |= count_flips(len(coins), flip_findings)
    if shuffled is not None:
        basis["shuffled nucleotides"] = shuffled.n_nucleotides
    table = tabulate(material, measured, significance, findings, shuffled)
    if controls.llm is not None:
        suggestions = interpret(
            controls.llm,
            material,
            measured,
            significance.is_supported,
            controls.n_asked,
            told("ask"),
        )
        table = suggest(table, suggestions)
        basis["features a language model was asked about"] = len(suggestions)
    return replace(table, basis=basis)


def _flipped(firings: Firings, n_rows: int) -> Float32[np.ndarray, " n_coins"]:
    """Returns densities of some features, from the rarest to the densest."""
    ordered = np.sort(firings.counts) / max(n_rows, 1)
    places = np.linspace(0, len(ordered) - 1, min(N_FLIPS, len(ordered)))
    out: Float32[np.ndarray, " n_coins"]
    out = ordered[places.round().astype(np.int64)].astype(np.float32)
    return out


def in_one(progress: Progress) -> Note:
    """Returns what tells all steps as thousandths of the whole."""
    names = list(_SHARES)

    def note(step: str, done: int, total: int) -> None:
        before = sum(_SHARES[name] for name in names[: names.index(step)])
        share = before + _SHARES[step] * done / max(total, 1)
        progress(int(1000 * share), 1000)

    return note

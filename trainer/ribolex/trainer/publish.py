"""From a trained autoencoder to a published dictionary, if it passes every gate.

Gates look at the exported folder, read back as a server would, not at what was in
memory. Knows nothing of how the autoencoder was trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ribolex.dictionary import (
    Codes,
    Dictionary,
    Gate,
    Identity,
    Panel,
    Sae,
    load_dictionary,
    write_dictionary,
)
from ribolex.lm import LanguageModel
from ribolex.registry import Registry, parse_ref
from ribolex.rna import Rna
from ribolex.trainer.corpus import choose
from ribolex.trainer.evaluate import Evaluation, evaluate
from ribolex.trainer.rows import Rows

_PANEL_NUCLEOTIDES = 2000
_PANEL_LONGEST = 200


@dataclass(frozen=True, slots=True)
class GateLimits:
    """What a dictionary may measure at most on held-out RNAs."""

    fvu: float = 0.5
    dead_fraction: float = 0.5
    dense_fraction: float = 0.05
    panel_differing: float = 0.005
    """Share of the panel's firings that a second encoding does not find."""


class Checked(NamedTuple):
    """An exported dictionary and what its gates said."""

    dictionary: Dictionary
    evaluation: Evaluation
    gates: tuple[Gate, ...]

    @property
    def failed(self) -> list[Gate]:
        """The gates that it does not pass."""
        return [gate for gate in self.gates if not gate.is_met]


def make_panel(
    lm: LanguageModel,
    sae: Sae,
    rnas: Sequence[Rna],
    identity: Identity,
) -> Panel:
    """Returns some short RNAs of many families with their codes, in float32."""
    short = [rna for rna in rnas if len(rna.sequence) <= _PANEL_LONGEST] or rnas[:1]
    chosen = choose(short, _PANEL_NUCLEOTIDES, np.random.default_rng(identity.seed))
    sequences = [rna.sequence for rna in chosen]
    codes = _encode(lm, sae, sequences, identity)
    return Panel(tuple(rna.name for rna in chosen), tuple(sequences), codes)


def check(
    path: Path,
    lm: LanguageModel,
    held_out: Rows,
    limits: GateLimits,
    target: Rows | None = None,
) -> Checked:
    """Returns what an exported dictionary measures and whether that will do.

    Args:
        path: its folder.
        lm: the model that it was made for.
        held_out: activations of RNAs that it was not trained on.
        limits: of the gates.
        target: what a transcoder should rebuild of each activation.

    Raises:
        CorruptArtefactError: the folder is no sound dictionary.
    """
    dictionary = load_dictionary(path)
    found = evaluate(dictionary.sae, held_out, target)
    panel = dictionary.panel
    alone = [
        _encode(lm, dictionary.sae, [sequence], dictionary.identity)
        for sequence in panel.sequences
    ]
    differing = 1 - panel.compare(Codes.concatenate(alone)).shared
    gates = (
        Gate("fvu", limits.fvu, found.fvu),
        Gate("dead_fraction", limits.dead_fraction, found.dead_fraction),
        Gate("dense_fraction", limits.dense_fraction, found.dense_fraction),
        Gate("panel_differing", limits.panel_differing, differing),
    )
    return Checked(dictionary, found, gates)


def publish(
    checked: Checked,
    controls: Mapping[str, float],
    staged: Path,
    registry: Registry,
) -> str:
    """Publishes a dictionary that passed, makes it current, and returns its ref.

    Args:
        checked: without failed gates.
        controls: measures of controls by name, kept beside the dictionary's own.
        staged: folder to write the dictionary with its measures to; not there yet.
        registry: where it goes.

    Raises:
        DictionaryExistsError: the same dictionary was published before.
        StaleWriteError: somebody else moved the current version meanwhile.
    """
    found, evaluation = checked.dictionary, checked.evaluation
    metrics = {
        "fvu": evaluation.fvu,
        "l0": evaluation.l0,
        "dead_fraction": evaluation.dead_fraction,
        "dense_fraction": evaluation.dense_fraction,
        "cut_fraction": evaluation.cut_fraction,
        "n_nucleotides": float(evaluation.n_nucleotides),
        **controls,
    }
    write_dictionary(
        staged,
        name=found.name,
        identity=replace(found.identity, metrics=metrics, gates=checked.gates),
        sae=found.sae,
        features=found.features,
        panel=found.panel,
    )
    before = registry.current(found.name)
    ref = registry.publish(staged)
    version = parse_ref(ref).version
    assert version is not None
    registry.set_current(found.name, version, before)
    return ref


def _encode(
    lm: LanguageModel, sae: Sae, sequences: Sequence[str], identity: Identity
) -> Codes:
    layer = identity.layer
    found = lm.activations(sequences, [layer], identity.hook)
    x = torch.from_numpy(np.concatenate([each[layer] for each in found]))
    codes = sae.encode(x)
    return Codes.from_topk(codes.indices.numpy(), codes.values.numpy(), sae.n_features)

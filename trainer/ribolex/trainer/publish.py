"""From a trained autoencoder to a published dictionary, if it passes every gate.

Gates look at what the exported folder measures, read back as a server would, not at
what was in memory. Knows nothing of how the autoencoder was trained.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ribolex.dictionary import (
    Codes,
    Dictionary,
    FeatureTable,
    Gate,
    Identity,
    Panel,
    Sae,
    load_dictionary,
    write_dictionary,
)
from ribolex.dictionary.artefact import (
    ALIGNMENT_FILE,
    CARD_FILE,
    EVALUATION_FILE,
)
from ribolex.dictionary.identity import Bound
from ribolex.errors import CorruptArtefactError, DictionaryExistsError
from ribolex.lm import LanguageModel
from ribolex.registry import Registry, parse_pinned
from ribolex.rna import Rna
from ribolex.trainer.annotation.report import with_section
from ribolex.trainer.corpus import choose
from ribolex.trainer.evaluation import Evaluation, write_card
from ribolex.trainer.lineage import encode_rnas, trace

log = logging.getLogger(__name__)

_PANEL_NUCLEOTIDES = 2000
_PANEL_LONGEST = 200


@dataclass(frozen=True, slots=True)
class GateLimits:
    """What a dictionary must measure on held-out RNAs; None leaves a gate out."""

    fvu: float | None = 0.5
    """At most."""
    dead_fraction: float | None = 0.5
    """At most."""
    dense_fraction: float | None = 0.05
    """At most."""
    cap_cut: float | None = 0.05
    """At most; of dictionaries with thresholds."""
    loss_recovered: float | None = 0.5
    """At least; of dictionaries of nucleotides. The one in the box has 0.63."""
    panel_differing: float | None = 0.005
    """At most: share of the panel's firings that a second encoding does not find."""


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
    codes = encode_rnas(lm, sae, sequences, identity)
    return Panel(tuple(rna.name for rna in chosen), tuple(sequences), codes)


def check(
    dictionary: Dictionary,
    lm: LanguageModel,
    evaluation: Evaluation,
    limits: GateLimits,
) -> Checked:
    """Returns whether what an exported dictionary measures will do.

    Args:
        dictionary: as read from its folder.
        lm: the model that it was made for.
        evaluation: what it measured.
        limits: of the gates.
    """
    panel = dictionary.panel
    alone = [
        encode_rnas(lm, dictionary.sae, [sequence], dictionary.identity)
        for sequence in panel.sequences
    ]
    found = evaluation.reconstruction
    gates = [
        _gate("fvu", limits.fvu, found.fvu),
        _gate("dead_fraction", limits.dead_fraction, found.dead_fraction),
        _gate("dense_fraction", limits.dense_fraction, found.dense_fraction),
    ]
    if found.cap_cut is not None:
        gates.append(_gate("cap_cut", limits.cap_cut, found.cap_cut))
    if evaluation.loss is not None:
        got = evaluation.loss_recovered
        got = float("nan") if got is None else got
        gates.append(_gate("loss_recovered", limits.loss_recovered, got, "at_least"))
    differing = 1 - panel.compare(Codes.concatenate(alone)).shared
    gates.append(_gate("panel_differing", limits.panel_differing, differing))
    return Checked(dictionary, evaluation, tuple(gate for gate in gates if gate))


class Described(NamedTuple):
    """What a dictionary comes with, beside what it measured."""

    features: FeatureTable
    """What is known about each feature."""
    alignment: bytes = b""
    """The file of its alignment model; empty if it has none."""


def stage(
    checked: Checked,
    described: Described,
    lm: LanguageModel,
    rnas: Sequence[Rna],
    registry: Registry,
    path: Path,
) -> None:
    """Writes a dictionary with what it measured and what its gates said.

    It goes with its lineage to the version that is current until then.

    Args:
        checked: it passed or failed.
        described: what else is known about it.
        lm: the model that it was made for.
        rnas: some to compare firings with the version before on.
        registry: where that is.
        path: folder to be; not there yet.
    """
    found, evaluation = checked.dictionary, checked.evaluation
    features = described.features
    old, ancestor = _current(registry, found.name), ""
    if old is not None and _is_same(found, old):
        features = replace(
            features,
            ancestor=old.features.ancestor,
            ancestor_confidence=old.features.ancestor_confidence,
        )
        ancestor = old.identity.ancestor
    elif old is not None:
        lineage = trace(found, old, lm, [rna.sequence for rna in rnas])
        log.info("lineage to=%s share=%.3f", old.ref, lineage.share)
        features = replace(
            features,
            ancestor=lineage.ancestor,
            ancestor_confidence=lineage.confidence,
        )
        ancestor = old.content_id
    identity = replace(
        found.identity,
        metrics=evaluation.headline(),
        gates=checked.gates,
        ancestor=ancestor,
    )
    write_dictionary(
        path,
        name=found.name,
        identity=identity,
        sae=found.sae,
        features=features,
        panel=found.panel,
        extras={
            CARD_FILE: with_section(
                write_card(evaluation, identity), features
            ).encode(),
            EVALUATION_FILE: evaluation.to_bytes(),
            **({ALIGNMENT_FILE: described.alignment} if described.alignment else {}),
        },
    )


class Published(NamedTuple):
    """Where a dictionary is."""

    ref: str
    """"name@version"."""
    is_new: bool
    """Whether it was not there before."""


def publish(staged: Path, registry: Registry) -> Published:
    """Publishes a dictionary that passed its gates and makes it current.

    If the current version is the same, but for what was measured of it, nothing is
    done; one that is there already to the byte is only made current.

    Args:
        staged: its folder.
        registry: where it goes.

    Raises:
        CorruptArtefactError: the staged folder is no sound dictionary.
        DictionaryNotFoundError: it is there already, and retired.
        StaleWriteError: somebody else moved the current version meanwhile.
    """
    found = load_dictionary(staged)
    before = registry.current(found.name)
    old = _current(registry, found.name)
    if old is not None and _is_same(found, old):
        return Published(old.ref, False)
    try:
        published = Published(registry.publish(staged), True)
    except DictionaryExistsError as error:
        published = Published(error.ref, False)
    name, version = parse_pinned(published.ref)
    if before != version:
        registry.set_current(name, version, before)
    return published


def revise(
    dictionary: Dictionary,
    features: FeatureTable,
    extras: Mapping[str, bytes],
    registry: Registry,
    before: int | None,
) -> Published:
    """Publishes a dictionary with more known about it, and makes that current.

    Weights, panel and ids stay: each feature goes on the one of its own id for sure.

    Args:
        dictionary: as read from a registry.
        features: what is known about each feature now.
        extras: contents of files that may be absent, by name.
        registry: where it goes.
        before: the version that is current there, and must be still; None for none.

    Raises:
        DictionaryExistsError: just this is there already.
        StaleWriteError: somebody else moved the current version meanwhile.
    """
    n_features = dictionary.sae.n_features
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch) / "staged"
        write_dictionary(
            staged,
            name=dictionary.name,
            identity=replace(dictionary.identity, ancestor=dictionary.content_id),
            sae=dictionary.sae,
            features=replace(
                features,
                ancestor=np.arange(n_features, dtype=np.int32),
                ancestor_confidence=np.ones(n_features, np.float32),
            ),
            panel=dictionary.panel,
            extras=extras,
        )
        ref = registry.publish(staged)
    registry.set_current(*parse_pinned(ref), before)
    return Published(ref, True)


def _current(registry: Registry, name: str) -> Dictionary | None:
    """Returns the current version; none if it is spoiled, which must not stop us."""
    version = registry.current(name)
    if version is None:
        return None
    try:
        return registry.get(f"{name}@{version}")
    except CorruptArtefactError as error:
        log.warning("no lineage to=%s@%d: %s", name, version, error)
        return None


def _is_same(found: Dictionary, old: Dictionary) -> bool:
    """Returns whether both are one dictionary, but for what was measured of it."""
    plain = [
        replace(each.identity, metrics={}, gates=(), ancestor="")
        for each in (found, old)
    ]
    return plain[0] == plain[1] and torch.equal(found.sae.W_enc, old.sae.W_enc)


def _gate(
    metric: str, limit: float | None, got: float, bound: Bound = "at_most"
) -> Gate | None:
    return None if limit is None else Gate(metric, limit, got, bound)

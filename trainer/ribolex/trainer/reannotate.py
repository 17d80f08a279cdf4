"""Describes a published dictionary anew and publishes that as its next version.

The weights, the panel and the ids stay. Knows nothing of the command line.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ribolex.dictionary import Dictionary, FeatureTable, Sae
from ribolex.dictionary.artefact import CARD_FILE
from ribolex.errors import InvalidRequestError
from ribolex.lm import LanguageModel
from ribolex.registry import Registry
from ribolex.trainer.annotation import Controls, Note, annotate, fold_missing
from ribolex.trainer.annotation.endpoint import Endpoint
from ribolex.trainer.annotation.report import with_section
from ribolex.trainer.corpus import choose, read_corpus
from ribolex.trainer.evaluation import RANDOM_DECODER, Sample
from ribolex.trainer.evaluation.controls import ControlFits, Samples
from ribolex.trainer.evaluation.sample import collect
from ribolex.trainer.publish import Published, revise

FOLDS_FILE = "folds.sqlite"
"""Structures predicted before, in the work folder."""


@dataclass(frozen=True, slots=True)
class Reannotation:
    """What a dictionary is described on."""

    rnas: Sequence[Path]
    """Tables."""
    n_nucleotides: int = 3_000_000
    """At most, families in turn."""
    control_rows: int = 500_000
    """Rows that the random dictionary is fitted to; 0 for none."""
    n_shuffled: int = 200_000
    """Nucleotides to shuffle; 0 for none."""
    fold: bool = False
    """Whether missing structures are predicted."""
    llm: Endpoint | None = None
    """Who is asked for labels as well."""
    n_asked: int = 200
    seed: int = 0
    device: str = "cpu"


def reannotate(
    dictionary: Dictionary,
    lm: LanguageModel,
    plan: Reannotation,
    registry: Registry,
    workdir: Path | None,
    note: Note,
) -> Published:
    """Publishes a dictionary with new evidence, and makes it current.

    Args:
        dictionary: as read from a registry.
        lm: the model that it was made for.
        plan: what it is described on.
        registry: where it goes.
        workdir: where activations and folds are kept for a second run; None for
            nowhere.
        note: is told each step, how much of it is done, and of how much.

    Raises:
        CorruptInputError, InvalidSequenceError: a table is not what it should be.
        IncompatibleDictionaryError: the dictionary is of another model.
        InvalidRequestError: no RNA fits the model, a structure is none, or there is no
            ViennaRNA to fold with.
        NotReadyError: the language model that is asked for labels does not answer.
        DictionaryExistsError: it has just this evidence already.
        StaleWriteError: somebody else moved the current version meanwhile.
    """
    dictionary.check_lm(lm.digest)
    with tempfile.TemporaryDirectory() as scratch:
        folder = workdir or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        before = registry.current(dictionary.name)
        features = _describe(dictionary, lm, plan, folder, note)
    # What indexes were weighed with stays.
    features = replace(features, idf=dictionary.features.idf)
    extras = dict(dictionary.extras)
    if CARD_FILE in extras:
        card = with_section(extras[CARD_FILE].decode(), features)
        extras[CARD_FILE] = card.encode()
    return revise(dictionary, features, extras, registry, before)


def _describe(
    dictionary: Dictionary,
    lm: LanguageModel,
    plan: Reannotation,
    folder: Path,
    note: Note,
) -> FeatureTable:
    identity = dictionary.identity
    generator = np.random.default_rng(plan.seed)
    rnas = choose(
        read_corpus(plan.rnas, lm.max_nucleotides), plan.n_nucleotides, generator
    )
    if not rnas:
        raise InvalidRequestError("rnas", "no RNA that fits the model")
    if plan.fold:
        rnas = fold_missing(rnas, folder / FOLDS_FILE, partial(note, "fold"))
    sample = collect(identity, lm, rnas, folder, partial(note, "activations"))
    controls = Controls(n_shuffled=plan.n_shuffled)
    if plan.n_shuffled:
        controls = controls._replace(lm=lm, identity=identity)
    if plan.control_rows:
        controls = controls._replace(
            random=_random(dictionary, sample, plan, folder, note),
            random_what=RANDOM_DECODER[1],
        )
    if plan.llm is not None:
        controls = controls._replace(llm=plan.llm, n_asked=plan.n_asked)
    return annotate(dictionary.sae, sample.read, sample.rnas, note, controls)


def _random(
    dictionary: Dictionary,
    sample: Sample,
    plan: Reannotation,
    folder: Path,
    note: Note,
) -> Sae:
    samples = Samples(sample, sample, sample, "")
    fits = ControlFits(
        dictionary, sample, samples, folder, plan.control_rows, device=plan.device
    )
    return fits.random_decoder(partial(note, "random fit")).sae

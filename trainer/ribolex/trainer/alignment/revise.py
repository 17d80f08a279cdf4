"""A published dictionary with an alignment model, as its next version.

The weights, the panel and the ids stay. Knows nothing of how the model was learned.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from ribolex.dictionary import AlignmentModel, Dictionary, write_dictionary
from ribolex.dictionary.artefact import ALIGNMENT_FILE
from ribolex.registry import Registry, parse_pinned
from ribolex.trainer.publish import Published


def add_alignment(
    dictionary: Dictionary, model: AlignmentModel, registry: Registry
) -> Published:
    """Publishes a dictionary with an alignment model, and makes that version current.

    Args:
        dictionary: as read from a registry; has one already or not.
        model: of as many features.
        registry: where it goes.

    Raises:
        DictionaryExistsError: it has just this one already.
        StaleWriteError: somebody else moved the current version meanwhile.
    """
    before = registry.current(dictionary.name)
    n_features = dictionary.sae.n_features
    features = replace(
        dictionary.features,
        ancestor=np.arange(n_features, dtype=np.int32),
        ancestor_confidence=np.ones(n_features, np.float32),
    )
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch) / "staged"
        write_dictionary(
            staged,
            name=dictionary.name,
            identity=replace(dictionary.identity, ancestor=dictionary.content_id),
            sae=dictionary.sae,
            features=features,
            panel=dictionary.panel,
            extras={**dictionary.extras, ALIGNMENT_FILE: model.to_bytes()},
        )
        ref = registry.publish(staged)
    registry.set_current(*parse_pinned(ref), before)
    return Published(ref, True)

"""A published dictionary with an alignment model, as its next version.

The weights, the panel and the ids stay. Knows nothing of how the model was learned.
"""

from ribolex.dictionary import AlignmentModel, Dictionary
from ribolex.dictionary.artefact import ALIGNMENT_FILE
from ribolex.registry import Registry
from ribolex.trainer.publish import Published, revise


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
    extras = {**dictionary.extras, ALIGNMENT_FILE: model.to_bytes()}
    before = registry.current(dictionary.name)
    return revise(dictionary, dictionary.features, extras, registry, before)

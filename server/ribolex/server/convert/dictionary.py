"""Messages of dictionary.proto: what dictionaries and features are."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from ribolex.dictionary import Dictionary, Example
from ribolex.errors import IncompatibleDictionaryError, InvalidRequestError
from ribolex.registry import Entry
from ribolex.server.convert import codes as convert
from ribolex.server.index import listing as index
from ribolex.server.index.atoms import Neighbour
from ribolex.v1 import codes_pb2, dictionary_pb2

_HOOKS = {
    "normed": dictionary_pb2.HOOK_NORMED,
    "raw": dictionary_pb2.HOOK_RAW,
}
_LEVELS = {
    "nucleotide": codes_pb2.LEVEL_NUCLEOTIDE,
    "sequence": codes_pb2.LEVEL_SEQUENCE,
}
_KINDS = {
    "sae": dictionary_pb2.DICTIONARY_KIND_SAE,
    "transcoder": dictionary_pb2.DICTIONARY_KIND_TRANSCODER,
}
_ACTIVATIONS = {
    "topk": dictionary_pb2.ACTIVATION_FUNCTION_TOPK,
    "jumprelu": dictionary_pb2.ACTIVATION_FUNCTION_JUMPRELU,
}


def encode_entry(entry: Entry, *, is_default: bool) -> dictionary_pb2.Dictionary:
    """Returns what one dictionary version is."""
    identity = entry.identity
    return dictionary_pb2.Dictionary(
        ref=convert.encode_ref(entry.name, entry.version),
        content_id=entry.content_id,
        model_name=identity.lm_name,
        model_digest=identity.lm_digest,
        layer=identity.layer,
        hook=_HOOKS[identity.hook],
        level=_LEVELS[identity.level],
        kind=_KINDS[identity.kind],
        activation_function=_ACTIVATIONS[identity.activation],
        k=identity.k,
        d_in=identity.d_in,
        n_features=identity.n_features,
        licence=identity.licence,
        metrics=identity.metrics,
        is_current=entry.is_current,
        is_default=is_default,
    )


def encode_published(example: Example) -> dictionary_pb2.FeatureExample:
    """Returns an example that came with the dictionary."""
    return dictionary_pb2.FeatureExample(
        rna=example.rna,
        max_activation=example.max_activation,
        positions=example.positions,
        sequence=example.sequence,
        metadata=example.metadata,
        values=example.values,
        structure=example.structure,
    )


def encode_stored(example: index.Example) -> dictionary_pb2.FeatureExample:
    """Returns an example from a collection."""
    return dictionary_pb2.FeatureExample(
        rna=example.rna.name,
        max_activation=example.max_activation,
        positions=example.positions.tolist(),
        sequence=example.rna.sequence,
        metadata=example.rna.metadata,
    )


def encode_neighbours(
    neighbours: Sequence[Neighbour], dictionary: Dictionary
) -> list[dictionary_pb2.NearestFeature]:
    """Returns near features, labelled."""
    return [
        dictionary_pb2.NearestFeature(
            feature=each.feature,
            cosine=each.cosine,
            label=dictionary.features.label[each.feature],
        )
        for each in neighbours
    ]


def decode_activation(
    packed: bytes, dictionary: Dictionary
) -> Float32[np.ndarray, " d_in"]:
    """Returns an activation of a dictionary's layer.

    Raises:
        IncompatibleDictionaryError: it is of another width.
        InvalidRequestError: a number is not finite.
    """
    d_in = dictionary.sae.d_in
    if len(packed) != 4 * d_in:
        raise IncompatibleDictionaryError(
            dictionary.ref,
            "d_in",
            f"{d_in} ({4 * d_in} bytes)",
            f"that of the activation ({len(packed)} bytes)",
        )
    vector = np.frombuffer(packed, "<f4").astype(np.float32)
    if not np.isfinite(vector).all():
        raise InvalidRequestError(
            "activation", "a number is not finite, expected all to be"
        )
    return vector

"""Messages of near features: where they are, what chance gives, what fires."""

from collections.abc import Sequence

import numpy as np

from ribolex.dictionary import Codes, Dictionary
from ribolex.server.convert import codes as convert
from ribolex.server.convert.dictionary import encode_neighbours
from ribolex.server.index.atoms import Chance, Neighbour
from ribolex.v1 import dictionary_pb2 as pb


def encode_near(
    neighbours: Sequence[Neighbour], dictionary: Dictionary
) -> list[pb.NearestFeature]:
    """Returns near features, labelled, with their dictionary."""
    found = encode_neighbours(neighbours, dictionary)
    for one in found:
        one.dictionary.name, one.dictionary.version = (
            dictionary.name,
            dictionary.version,
        )
    return found


def encode_searched(dictionary: Dictionary, chance: Chance) -> pb.SearchedDictionary:
    """Returns which dictionary was searched."""
    target = dictionary.identity.target
    return pb.SearchedDictionary(
        dictionary=convert.encode_ref(dictionary.name, dictionary.version),
        layer=target.layer if target else dictionary.identity.layer,
        n_features=dictionary.sae.n_features,
        chance_median=chance.median,
        chance_high=chance.high,
    )


def encode_firing(codes: Codes, dictionary: Dictionary) -> list[pb.FiringFeature]:
    """Returns the features of some nucleotides, the largest sum of values first."""
    features, places = np.unique(codes.indices, return_inverse=True)
    counts = np.bincount(places, minlength=len(features))
    sums = np.bincount(places, codes.values, minlength=len(features))
    peaks = np.zeros(len(features), np.float32)
    np.maximum.at(peaks, places, codes.values)
    return [
        pb.FiringFeature(
            feature=int(features[i]),
            n_nucleotides=int(counts[i]),
            max_activation=float(peaks[i]),
            label=dictionary.features.label[features[i]],
        )
        for i in np.lexsort((features, -sums))
    ]

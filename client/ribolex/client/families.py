"""How often the nearest RNA is of the same family: by search, and by 4-mers.

A plain measure for the demo; what it is worth depends on how alike a collection's
families are within themselves.
"""

import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from ribolex.client.client import Client
from ribolex.client.records import Rna

_K = 4
_N_CALLS = 8


def draw_queries(rnas: Sequence[Rna], n_queries: int, seed: int) -> list[int]:
    """Returns the places of RNAs drawn at random among those with a relative."""
    sizes = Counter(family_of(rna) for rna in rnas)
    places = [place for place, rna in enumerate(rnas) if sizes[family_of(rna)] > 1]
    return sorted(random.Random(seed).sample(places, min(n_queries, len(places))))


def family_of(rna: Rna) -> str:
    """Returns the RNA's family, or its own name if it has none."""
    return rna.metadata.get("family") or f"only {rna.name}"


def rate_by_search(
    client: Client, collection: str, rnas: Sequence[Rna], queries: Sequence[int]
) -> float:
    """Returns the fraction of queries whose first hit is of their family."""
    nearest = partial(client.search, collection, top_k=1, max_shared_features=0)
    with ThreadPoolExecutor(_N_CALLS) as pool:
        answers = pool.map(lambda place: nearest(rna=rnas[place].name), queries)
        found = [hits[0].rna if hits else None for hits in answers]
    return _rate(rnas, queries, found)


def rate_by_kmers(rnas: Sequence[Rna], queries: Sequence[int]) -> float:
    """Returns the same fraction for the cosine of counts of 4-mers."""
    profiles = np.stack([_profile(rna.sequence) for rna in rnas])
    profiles /= np.maximum(np.linalg.norm(profiles, axis=1, keepdims=True), 1e-9)
    similar = profiles[list(queries)] @ profiles.T
    similar[np.arange(len(queries)), list(queries)] = -1.0
    found = [rnas[place] for place in similar.argmax(axis=1)]
    return _rate(rnas, queries, found)


def _profile(sequence: str) -> npt.NDArray[np.float32]:
    """Returns how often each 4-mer occurs; one with another letter counts nowhere."""
    letters = np.frombuffer(sequence.encode("ascii", "replace"), np.uint8)
    digits = np.full(256, -1)
    digits[[ord(letter) for letter in "ACGU"]] = range(4)
    if len(letters) < _K:
        return np.zeros(4**_K, np.float32)
    words = np.lib.stride_tricks.sliding_window_view(digits[letters], _K)
    known = words[(words >= 0).all(axis=1)]
    numbers = known @ 4 ** np.arange(_K)
    return np.bincount(numbers, minlength=4**_K).astype(np.float32)


def _rate(
    rnas: Sequence[Rna], queries: Sequence[int], found: Sequence[Rna | None]
) -> float:
    n_same = sum(
        one is not None and family_of(one) == family_of(rnas[place])
        for place, one in zip(queries, found, strict=True)
    )
    return n_same / max(len(queries), 1)

"""Where a feature fires within its RNAs, and what it would meet there by chance.

One walk along the firings of a feature in the order of clans, families, RNAs. Chance
is a circular shift: all RNAs of a clan are turned together by the same fraction of
their length, so that a feature keeps its runs and its density in each RNA, and what
relatives have in common counts once. Of the number of hits under all turns of all
clans the first three moments are exact. Knows nothing of tests.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from ribolex.trainer.activations import Progress
from ribolex.trainer.annotation.compiled import compiled, over_features
from ribolex.trainer.annotation.firings import Firings
from ribolex.trainer.annotation.labels import Labels, Pairing
from ribolex.trainer.annotation.material import Material

N_TURNS = 32
"""Of a clan, the one that leaves it as it is included."""
REACH = 10
"""Nucleotides on either side of a peak that its surroundings are told of."""
N_LETTERS, N_ELEMENTS = 4, 7
LONGEST = 64
"""Runs, gaps and numbers of runs are counted up to it."""
N_COVERS = 20


@dataclass(frozen=True, slots=True)
class Chance:
    """Hits of each feature with each label under circular shifts; read-only."""

    support: Int64[np.ndarray, "n_features label"]
    """RNAs with the label in which a firing has it."""
    families: Int64[np.ndarray, "n_features label"]
    """Families of those RNAs."""
    clans: Int64[np.ndarray, "n_features 2"]
    """Clans in which it fires; those in which it does in RNAs of known structure."""
    moments: Float64[np.ndarray, "n_features label 3"]
    """Mean, variance and third central moment of the hits."""
    both: Float64[np.ndarray, "n_features 5"]
    """Firings whose partner fires, too; paired firings; moments of the former."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """How features lie in RNAs; counts over RNAs in which they fire; read-only."""

    n_rnas: Int64[np.ndarray, " n_features"]
    n_families: Int64[np.ndarray, " n_features"]
    longest_run: Int64[np.ndarray, "n_features length"]
    """RNAs by their longest run, the last of LONGEST and more."""
    n_runs: Int64[np.ndarray, "n_features number"]
    """RNAs by their number of runs."""
    cover: Int64[np.ndarray, "n_features share"]
    """RNAs by the share of their nucleotides, in twentieths."""
    gaps: Int64[np.ndarray, "n_features distance"]
    """Neighbouring runs by the distance of their beginnings."""
    letters: Float32[np.ndarray, "n_features place letter"]
    """Mean over families of the share of a letter at each place around the peak; a
    place that lies outside an RNA counts for no letter."""
    elements: Float32[np.ndarray, "n_features place element"]


@dataclass(frozen=True, slots=True)
class Walk:
    """What one walk found."""

    chance: Chance
    shapes: Shapes
    peaks: Firings
    """Of RNAs: each feature's largest value in every RNA in which it fires."""
    peak_rows: Int32[np.ndarray, " peak"]
    """Where that is; the first of equal ones."""


def walk(
    firings: Firings,
    labels: Labels,
    pairing: Pairing,
    material: Material,
    progress: Progress,
) -> Walk:
    """Returns where all features fire, and what they would meet by chance.

    Args:
        firings: of rows.
        labels: of the same rows.
        pairing: of the same rows.
        material: whose rows they are.
        progress: is told about features.
    """
    n, n_labels, width = firings.n_features, len(labels), 2 * REACH + 1
    n_peaks = np.zeros(n, np.int64)
    for _ in over_features(
        lambda start, stop: _count_rnas(
            firings.offsets, firings.rows, start, stop, material.rna_of_row, n_peaks
        ),
        n,
    ):
        pass
    bounds = np.concatenate([[0], np.cumsum(n_peaks)]).astype(np.int64)
    peaks = Firings(
        bounds, np.empty(bounds[-1], np.int32), np.empty(bounds[-1], np.float32)
    )
    peak_rows = np.empty(bounds[-1], np.int32)
    chance = Chance(
        np.zeros((n, n_labels), np.int64),
        np.zeros((n, n_labels), np.int64),
        np.zeros((n, 2), np.int64),
        np.zeros((n, n_labels, 3)),
        np.zeros((n, 5)),
    )
    shapes = Shapes(
        n_peaks,
        np.zeros(n, np.int64),
        np.zeros((n, LONGEST + 1), np.int64),
        np.zeros((n, LONGEST + 1), np.int64),
        np.zeros((n, N_COVERS + 1), np.int64),
        np.zeros((n, LONGEST + 1), np.int64),
        np.zeros((n, width, N_LETTERS), np.float32),
        np.zeros((n, width, N_ELEMENTS), np.float32),
    )
    longest_rna = int(np.diff(material.offsets).max(initial=0))

    def kernel(start: int, stop: int) -> None:
        _walk(
            firings.offsets, firings.rows, firings.values, start, stop,
            material.rna_of_row, material.offsets, material.families, material.clans,
            longest_rna, labels.slots, pairing.partners,
            bounds, peaks.rows, peaks.values, peak_rows,
            chance.support, chance.families, chance.clans, chance.moments, chance.both,
            shapes.n_families, shapes.longest_run, shapes.n_runs, shapes.cover,
            shapes.gaps, shapes.letters, shapes.elements,
        )  # fmt: skip

    for done in over_features(kernel, n):
        progress(done, n)
    return Walk(chance, shapes, peaks, peak_rows)


@compiled
def _count_rnas(offsets, rows, start, stop, rna_of_row, out):  # type: ignore[no-untyped-def]
    for f in range(start, stop):
        last = -1
        for i in range(offsets[f], offsets[f + 1]):
            rna = rna_of_row[rows[i]]
            if rna != last:
                out[f] += 1
                last = rna


@compiled
def _turn(  # type: ignore[no-untyped-def]
    places, n, begin, length, stamps, stamp, slots, partners, both, counts, is_touched,
):  # fmt: skip
    """Adds the hits of one RNA under every turn to counts, [label, turn]."""
    n_turns, n_slots = counts.shape[1], slots.shape[1]
    for k in range(n_turns):
        shift = length * k // n_turns
        for i in range(n):
            place = places[i] + shift
            if place >= length:
                place -= length
            row = begin + place
            for s in range(n_slots):
                label = slots[row, s]
                if label >= 0:
                    counts[label, k] += 1
                    is_touched[label] = True
            partner = partners[row]
            if partner >= 0:
                place = partner - begin - shift
                if place < 0:
                    place += length
                if stamps[place] == stamp:
                    both[k] += 1


@compiled
def _shape(places, n, length, longest_run, n_runs, cover, gaps):  # type: ignore[no-untyped-def]
    """Counts one RNA by its runs."""
    top = len(longest_run) - 1
    runs, run, longest, begin = 1, 1, 1, places[0]
    for i in range(1, n):
        if places[i] == places[i - 1] + 1:
            run += 1
        else:
            gaps[min(places[i] - begin, top)] += 1
            begin = places[i]
            runs += 1
            run = 1
        longest = max(longest, run)
    longest_run[min(longest, top)] += 1
    n_runs[min(runs, top)] += 1
    cover[n * (len(cover) - 1) // length] += 1


@compiled
def _add_moments(values, out):  # type: ignore[no-untyped-def]
    """Adds the mean and central moments of equally likely values; zeroes those."""
    n = len(values)
    total, squares, cubes = np.int64(0), np.int64(0), np.int64(0)
    for i in range(n):
        value = np.int64(values[i])
        total += value
        squares += value * value
        cubes += value * value * value
        values[i] = 0
    mean, square = total / n, squares / n
    out[0] += mean
    out[1] += square - mean * mean
    out[2] += cubes / n - 3 * mean * square + 2 * mean * mean * mean


@compiled
def _walk(  # type: ignore[no-untyped-def]
    offsets, rows, values, start, stop, rna_of_row, begins, families, clans,
    longest_rna, slots, partners, peak_bounds, peak_rnas, peak_values, peak_rows,
    support, label_families, n_clans, moments, both, n_families, longest_run, n_runs,
    cover, gaps, letters, elements,
):  # fmt: skip
    n_labels, n_slots = support.shape[1], slots.shape[1]
    counts = np.zeros((n_labels, N_TURNS), np.int32)
    is_touched = np.zeros(n_labels, np.bool_)
    both_here = np.zeros(N_TURNS, np.int32)
    stamps = np.full(longest_rna, -1, np.int64)
    places = np.empty(longest_rna, np.int64)
    last_rna = np.full(n_labels, -1, np.int64)
    last_family = np.full(n_labels, -1, np.int64)
    width = letters.shape[1]
    seen_letters = np.zeros((width, letters.shape[2]), np.float32)
    seen_elements = np.zeros((width, elements.shape[2]), np.float32)
    stamp = 0
    for f in range(start, stop):
        last_rna[:], last_family[:] = -1, -1
        i, end, peak = offsets[f], offsets[f + 1], peak_bounds[f]
        while i < end:  # a clan
            clan = clans[rna_of_row[rows[i]]]
            is_structured = False
            while i < end and clans[rna_of_row[rows[i]]] == clan:  # a family
                family = families[rna_of_row[rows[i]]]
                n_families[f] += 1
                n_here = 0
                seen_letters[:], seen_elements[:] = 0, 0
                while i < end and families[rna_of_row[rows[i]]] == family:  # an RNA
                    rna = rna_of_row[rows[i]]
                    begin, length = begins[rna], begins[rna + 1] - begins[rna]
                    n, best = 0, i
                    stamp += 1
                    while i < end and rna_of_row[rows[i]] == rna:
                        row = rows[i]
                        places[n] = row - begin
                        stamps[row - begin] = stamp
                        n += 1
                        if values[i] > values[best]:
                            best = i
                        for s in range(n_slots):
                            label = slots[row, s]
                            if label >= 0:
                                if last_rna[label] != rna:
                                    last_rna[label] = rna
                                    support[f, label] += 1
                                if last_family[label] != family:
                                    last_family[label] = family
                                    label_families[f, label] += 1
                        if partners[row] >= 0:
                            both[f, 1] += 1
                        if partners[row] != -2:
                            is_structured = True
                        i += 1
                    _turn(
                        places, n, begin, length, stamps, stamp, slots, partners,
                        both_here, counts, is_touched,
                    )  # fmt: skip
                    _shape(
                        places, n, length, longest_run[f], n_runs[f], cover[f], gaps[f]
                    )
                    peak_rnas[peak], peak_values[peak] = rna, values[best]
                    peak_rows[peak] = rows[best]
                    peak += 1
                    n_here += 1
                    middle = rows[best] - begin
                    for w in range(width):
                        place = middle + w - width // 2
                        if 0 <= place < length:
                            label = slots[begin + place, 0]
                            if label >= 0:
                                seen_letters[w, label] += 1
                            label = slots[begin + place, 1]
                            if label >= 0:
                                seen_elements[w, label - letters.shape[2]] += 1
                for w in range(width):
                    for a in range(letters.shape[2]):
                        letters[f, w, a] += seen_letters[w, a] / n_here
                    for e in range(elements.shape[2]):
                        elements[f, w, e] += seen_elements[w, e] / n_here
            n_clans[f, 0] += 1
            n_clans[f, 1] += is_structured
            for label in range(n_labels):
                if is_touched[label]:
                    _add_moments(counts[label], moments[f, label])
                    is_touched[label] = False
            both[f, 0] += both_here[0]
            _add_moments(both_here, both[f, 2:])
        if n_families[f]:
            letters[f] /= n_families[f]
            elements[f] /= n_families[f]

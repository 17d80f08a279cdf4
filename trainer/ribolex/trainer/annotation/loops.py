"""Structure elements of many RNAs at once: the compiled twin of `rna.elements`.

Knows nothing of what elements are for.
"""

import numpy as np

from ribolex.rna.elements import ELEMENTS
from ribolex.trainer.annotation.compiled import compiled

_S, _H, _B, _I, _M, _X, _E = (list(ELEMENTS).index(letter) for letter in "SHBIMXE")


@compiled
def mark_loops(signs, bounds, elements, partners, sizes):  # type: ignore[no-untyped-def]
    """Writes elements, partners and loop sizes; returns the first RNA that is none.

    Args:
        signs: [nucleotide], uint8, dot-brackets one after the other; an RNA without
            "(" is passed over.
        bounds: [rna + 1], where each begins.
        elements: [nucleotide], uint8, index in ELEMENTS.
        partners: [nucleotide], int32, counted over all RNAs; -1 where unpaired.
        sizes: [nucleotide], int32, as in `Loops`.

    Returns:
        -1, or the RNA whose brackets do not match or that has another sign.
    """
    longest = 0
    for r in range(len(bounds) - 1):
        longest = max(longest, bounds[r + 1] - bounds[r])
    opened = np.empty(longest + 1, np.int64)
    first = np.empty(longest + 1, np.int64)  # loose before the first inner pair
    n_inner = np.empty(longest + 1, np.int64)
    n_loose = np.empty(longest + 1, np.int64)
    for r in range(len(bounds) - 1):
        start, stop = bounds[r], bounds[r + 1]
        n_pairs, depth = 0, 0
        for i in range(start, stop):
            sign = signs[i]
            if sign == 40:
                opened[depth] = i
                depth += 1
                n_pairs += 1
            elif sign == 41:
                if depth == 0:
                    return r
                depth -= 1
                partners[i], partners[opened[depth]] = opened[depth], i
            elif not (
                sign == 46
                or (sign == 32 and n_pairs == 0)
                or sign in (60, 62, 91, 93, 123, 125)
                or 65 <= sign <= 90
                or 97 <= sign <= 122
            ):
                return r
        if depth:
            return r
        if n_pairs == 0:
            continue
        _mark(signs, start, stop, elements, partners, sizes, first, n_inner, n_loose)
    return -1


@compiled
def _mark(signs, start, stop, elements, partners, sizes, first, n_inner, n_loose):  # type: ignore[no-untyped-def]
    """Names the nucleotides of one RNA whose partners are known."""
    depth = 0
    n_inner[0], n_loose[0], first[0] = 0, 0, 0
    for i in range(start, stop):
        if signs[i] == 40:
            elements[i] = _S
            if n_inner[depth] == 0:
                first[depth] = n_loose[depth]
            n_inner[depth] += 1
            depth += 1
            n_inner[depth], n_loose[depth], first[depth] = 0, 0, 0
        elif signs[i] == 41:
            elements[i] = _S
            if n_inner[depth] == 0:
                name = _H
            elif n_inner[depth] > 1:
                name = _M
            elif 0 < first[depth] < n_loose[depth]:
                name = _I
            else:
                name = _B
            j, n_left = partners[i] + 1, n_loose[depth]
            while n_left:
                if partners[j] > j:
                    j = partners[j] + 1
                    continue
                elements[j], sizes[j] = name, n_loose[depth]
                n_left -= 1
                j += 1
            depth -= 1
        else:
            partners[i] = -1
            n_loose[depth] += 1
    i, n_seen = start, 0
    while i < stop:
        if signs[i] == 40:
            n_seen += 1
            i = partners[i] + 1
        else:
            elements[i] = _X if 0 < n_seen < n_inner[0] else _E
            i += 1

"""Shuffled RNAs that keep what chance alone would give: composition and neighbours.

Knows nothing of what they are compared with.
"""

import numpy as np


def shuffle(sequence: str, generator: np.random.Generator) -> str:
    """Returns the letters of a sequence in a random order that keeps all neighbours.

    Every pair of neighbouring letters occurs as often as before, hence every letter
    too, and the first and the last letter stay (Altschul and Erickson 1985). All such
    orders are equally likely. A sequence may have only one.
    """
    if len(sequence) < 4:
        return sequence
    followers: dict[str, list[str]] = {}
    for one, other in zip(sequence, sequence[1:], strict=False):
        followers.setdefault(one, []).append(other)
    lasts = _last_followers(followers, sequence[-1], generator)
    for letter, own in followers.items():
        if letter in lasts:
            own.remove(lasts[letter])
        own[:] = [own[i] for i in generator.permutation(len(own))]
        if letter in lasts:
            own.append(lasts[letter])
        own.reverse()
    out = [sequence[0]]
    while followers.get(out[-1]):
        out.append(followers[out[-1]].pop())
    return "".join(out)


def _last_followers(
    followers: dict[str, list[str]], end: str, generator: np.random.Generator
) -> dict[str, str]:
    """Returns the last follower of each letter but `end`: all ways lead to `end`.

    A random spanning tree by walks whose loops are erased (Wilson 1996).
    """
    lasts: dict[str, str] = {}
    reached = {end}
    for letter in followers:
        at = letter
        while at not in reached:
            lasts[at] = followers[at][generator.integers(len(followers[at]))]
            at = lasts[at]
        at = letter
        while at not in reached:
            reached.add(at)
            at = lasts[at]
    return lasts

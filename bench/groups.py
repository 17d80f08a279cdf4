"""How often groups that chance has dealt are said to differ, balanced or not.

RNAs of the sample in the box, read by the dictionary in the box. First tRNAs, each one
observation, dealt into a small group and the others. Then clans, dealt as a whole: with
all their RNAs (20 at most), and with one RNA each in one group or in the other. Nothing
that is found is there: at a false-discovery rate of 0.05 one deal in twenty may find
something.

    python bench/groups.py [--deals N]
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from nearest_family import encode

import ribolex_bundle
from ribolex.dictionary import SequenceCode, pool
from ribolex.dictionary.groups import Sample, compare_groups
from ribolex.lm import load_lm
from ribolex.registry import open_registry
from ribolex.rna import Rna, read_rnas

DICTIONARY = "ribolex-mini-l6"
N_TRNAS, N_CLANS, MAX_OF_CLAN = 600, 200, 20


class Deal(NamedTuple):
    """RNAs of both groups, and the unit of each."""

    first: np.ndarray
    second: np.ndarray
    units: np.ndarray


def clan_of(rna: Rna) -> str:
    """Gives the clan, or the family of those that have none."""
    return rna.metadata.get("clan") or rna.metadata["family"]


def pooled(rnas: Sequence[Rna]) -> tuple[list[SequenceCode], int]:
    """Gives the pooled codes, and how many features there are."""
    dictionary = open_registry("bundled").get(DICTIONARY)
    codes = encode(load_lm("bundled"), dictionary, rnas)
    return [pool(one, "max") for one in codes], dictionary.sae.n_features


def of_rnas(n: int, n_first: int, random: np.random.Generator) -> Deal:
    """Deals single RNAs."""
    order = random.permutation(n)
    return Deal(order[:n_first], order[n_first:], np.arange(n))


def of_clans(
    clans: np.ndarray, n_first: int, singles: str, random: np.random.Generator
) -> Deal:
    """Deals whole clans; those of the group `singles` with one RNA each."""
    order = random.permutation(clans.max() + 1)
    groups = []
    for name, own in (("first", order[:n_first]), ("second", order[n_first:])):
        rows = np.flatnonzero(np.isin(clans, own))
        if name == singles:
            rows = random.permutation(rows)
            rows = rows[np.unique(clans[rows], return_index=True)[1]]
        groups.append(rows)
    units = clans[np.concatenate(groups)]
    return Deal(*groups, np.unique(units, return_inverse=True)[1])


def show(
    what: str, codes: Sequence[SequenceCode], width: int, deals: Iterator[Deal]
) -> None:
    """Prints what is found in some deals."""
    p_values, false = [], []
    for deal in deals:
        own = [codes[i] for i in (*deal.first, *deal.second)]
        sample = Sample(own, None, len(deal.first), deal.units.astype(np.int64))
        found = compare_groups(sample, width, 0)
        p_values.append(found.p_value)
        false.append(int((found.q_value <= 0.05).sum()))
    p = np.concatenate(p_values)
    print(
        f"{what:<34} {len(p):7,} tests  p < .05 {np.mean(p < 0.05):6.2%}  "
        f"p < .001 {np.mean(p < 1e-3):6.3%}  smallest {p.min():.0e}  false {false}",
        flush=True,
    )


def main() -> None:
    """Prints a line for each kind of deal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deals", type=int, default=8)
    n_deals = parser.parse_args().deals
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    rnas = list(read_rnas(ribolex_bundle.sample_path()))
    own = [rna for rna in rnas if rna.metadata["family"] == "tRNA"][:N_TRNAS]
    codes, width = pooled(own)
    for n in (5, 10, 20, 50, len(own) // 2):
        deals = (of_rnas(len(own), n, random) for _ in range(n_deals))
        show(f"{n} tRNAs against {len(own) - n}", codes, width, deals)
    taken: Counter[str] = Counter()
    chosen = []
    for rna in (rnas[i] for i in random.permutation(len(rnas))):
        clan = clan_of(rna)
        is_known = clan in taken or len(taken) < N_CLANS
        if is_known and taken[clan] < MAX_OF_CLAN:
            taken[clan] += 1
            chosen.append(rna)
    clans = np.unique([clan_of(rna) for rna in chosen], return_inverse=True)[1]
    codes, width = pooled(chosen)
    k = int(clans.max()) + 1
    for n in (10, 20, k // 2):
        for singles, told in (
            ("", "all RNAs"),
            ("first", "one each in +"),
            ("second", "one each in -"),
        ):
            deals = (of_clans(clans, n, singles, random) for _ in range(n_deals))
            show(f"{n} clans against {k - n}, {told}", codes, width, deals)


if __name__ == "__main__":
    main()

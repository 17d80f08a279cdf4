"""How often groups that chance has dealt are said to differ, balanced or not.

RNAs of the sample in the box, read by the dictionary in the box. First tRNAs, each one
observation, dealt into a small group and the others. Then clans, dealt as a whole: with
all their RNAs (20 at most), and with one RNA each in one group or in the other. Nothing
that is found is there: at a false-discovery rate of 0.05 one deal in twenty may find
something.

    python bench/groups.py [--deals N]
"""

import argparse
import csv
import gzip
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

import ribolex_bundle
from ribolex.dictionary import Codes, SequenceCode, pool
from ribolex.dictionary.groups import Sample, compare_groups
from ribolex.lm import load_lm
from ribolex.registry import open_registry

DICTIONARY = "ribolex-mini-l6"
N_TRNAS, N_CLANS, MAX_OF_CLAN, AT_ONCE = 600, 200, 20, 64


class Rna(NamedTuple):
    """An RNA of the sample."""

    sequence: str
    family: str
    clan: str


class Deal(NamedTuple):
    """RNAs of both groups, and the unit of each."""

    first: np.ndarray
    second: np.ndarray
    units: np.ndarray


def read_sample() -> list[Rna]:
    """Reads all RNAs of the sample in the box."""
    with gzip.open(ribolex_bundle.sample_path(), "rt") as file:
        return [
            Rna(row["sequence"], row["family"], row["clan"] or row["family"])
            for row in csv.DictReader(file, delimiter="\t")
        ]


def encode(rnas: Sequence[Rna]) -> tuple[list[SequenceCode], int]:
    """Gives the pooled codes, and how many features there are."""
    lm = load_lm("bundled")
    dictionary = open_registry("bundled").get(DICTIONARY)
    layer, hook = dictionary.identity.layer, dictionary.identity.hook
    codes = []
    for start in range(0, len(rnas), AT_ONCE):
        texts = [rna.sequence for rna in rnas[start : start + AT_ONCE]]
        for found in lm.activations(texts, [layer], hook):
            top = dictionary.sae.encode(torch.from_numpy(found[layer]))
            width = dictionary.sae.n_features
            rows = Codes.from_topk(top.indices.numpy(), top.values.numpy(), width)
            codes.append(pool(rows, "max"))
    return codes, dictionary.sae.n_features


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
    rnas = read_sample()
    own = [rna for rna in rnas if rna.family == "tRNA"][:N_TRNAS]
    codes, width = encode(own)
    for n in (5, 10, 20, 50, len(own) // 2):
        deals = (of_rnas(len(own), n, random) for _ in range(n_deals))
        show(f"{n} tRNAs against {len(own) - n}", codes, width, deals)
    taken: Counter[str] = Counter()
    chosen = []
    for rna in (rnas[i] for i in random.permutation(len(rnas))):
        is_new = rna.clan not in taken
        if taken[rna.clan] < MAX_OF_CLAN and not (is_new and len(taken) > N_CLANS):
            taken[rna.clan] += 1
            chosen.append(rna)
    clans = np.unique([rna.clan for rna in chosen], return_inverse=True)[1]
    codes, width = encode(chosen)
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

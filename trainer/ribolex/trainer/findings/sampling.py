"""RNAs to look at: of many families, and many of some.

Labels of nucleotides want many clans, labels of families many members. Knows nothing
of features.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ribolex.errors import InvalidRequestError
from ribolex.lm import LanguageModel
from ribolex.rna import Rna
from ribolex.trainer.annotation.significance import MIN_RNAS
from ribolex.trainer.corpus import choose, family_of, read_corpus

N_MEMBERS = MIN_RNAS + 5
"""Of a family that is taken for its members: enough for it to be tested."""


def read_sample(
    paths: Sequence[Path], lm: LanguageModel, n_nucleotides: int, seed: int
) -> list[Rna]:
    """Returns RNAs of tables that fit a model, about so many nucleotides.

    Half of them are of families in turn; the other half fills families drawn by chance
    up to 25 members.

    Raises:
        CorruptInputError, InvalidSequenceError: a table is not what it should be.
        InvalidRequestError: no RNA fits.
    """
    rnas = read_corpus(paths, lm.max_nucleotides)
    if not rnas:
        names = ", ".join(map(str, paths))
        raise InvalidRequestError(names, "no RNA that fits the model")
    return sample(rnas, n_nucleotides, np.random.default_rng(seed))


def sample(
    rnas: Sequence[Rna], n_nucleotides: int, generator: np.random.Generator
) -> list[Rna]:
    """Returns the RNAs that `read_sample` does, in the order given."""
    first = choose(rnas, n_nucleotides // 2, generator)
    left = n_nucleotides - sum(len(rna.sequence) for rna in first)
    taken = {id(rna) for rna in first}
    families: dict[str, list[Rna]] = defaultdict(list)
    for rna in rnas:
        families[family_of(rna)].append(rna)
    large = [each for each in families.values() if len(each) >= N_MEMBERS]
    for i in generator.permutation(len(large)):
        members = large[i]
        n_taken = sum(id(rna) in taken for rna in members)
        others = [rna for rna in members if id(rna) not in taken]
        order = generator.permutation(len(others))[: max(0, N_MEMBERS - n_taken)]
        more = [others[j] for j in order]
        if left < sum(len(rna.sequence) for rna in more):
            break
        taken |= {id(rna) for rna in more}
        left -= sum(len(rna.sequence) for rna in more)
    return [rna for rna in rnas if id(rna) in taken]

"""The encoding path of the server in the caller's own process, without a server.

`ribolex encode --local` finds it by the entry-point group `ribolex.local`. The codes
are those that a server answers with. Knows nothing of queues, gRPC or files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, Int64

from ribolex.dictionary import Codes, Pooling, SequenceCode
from ribolex.errors import InvalidRequestError
from ribolex.lm import load_lm
from ribolex.rna import tokenise
from ribolex.server.dictionaries import check_fit, choose_default, registry_at
from ribolex.server.engine.encoding import (
    Encoding,
    Job,
    Recipe,
    encode_batch,
    read_sequence,
)
from ribolex.server.engine.plan import Waiting, plan
from ribolex.server.settings import BUNDLED
from ribolex.server.status import reason_of

_BATCH_TOKENS = 2048
"""On a CPU more is no faster (8.9 k nucleotides/s at 2,048, 7.1 k at 8,192)."""


@dataclass(frozen=True, slots=True)
class LocalRejection:
    """Why one sequence was refused while the others went on."""

    index: int
    """Its place in what was given, counted from 0."""
    reason: str
    """"invalid_sequence" or "sequence_too_long"."""
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class LocalResult:
    """The codes of a batch of sequences.

    A sequence that was refused has an empty row, no nucleotides and nan for fvu.
    """

    n_nucleotides: Int64[np.ndarray, " sequence"]
    sequence_codes: Codes
    """One row a sequence: plain pooled values."""
    nucleotide_codes: Codes | None
    """One row a nucleotide, of all sequences one after the other, if asked for."""
    fvu: Float32[np.ndarray, " sequence"]
    """Fraction of variance that the codes do not explain."""
    rejections: tuple[LocalRejection, ...]


class LocalEncoder:
    """A language model and one dictionary. To be used by one thread at a time.

    Attributes:
        dictionary_name: Name of the dictionary that codes belong to.
        dictionary_version: Its version.
        k: Features that may fire in each nucleotide.
    """

    def __init__(
        self,
        model: str = BUNDLED,
        dictionary: str | None = None,
        *,
        registry: str | None = None,
        device: str = "cpu",
    ) -> None:
        """Loads both; takes seconds.

        Args:
            model: "bundled", or the path of a RiNALMo's weights.
            dictionary: "name" or "name@version"; None for the first that fits.
            registry: folder of published dictionaries; None for the bundled ones.
            device: where to compute, as torch names it.

        Raises:
            CorruptInputError: the model cannot be read.
            DictionaryNotFoundError: there is no such dictionary, or none that fits.
            IncompatibleDictionaryError: it was made for another model.
        """
        self._lm = load_lm(model, device=device)
        folder = registry_at(registry or BUNDLED)
        found = folder.get(dictionary or choose_default(folder, self._lm))
        check_fit(found.ref, found.identity, self._lm)
        self._dictionary = replace(found, sae=found.sae.to(torch.device(device)))
        self.dictionary_name = found.name
        self.dictionary_version = found.version
        self.k = found.sae.k

    def encode(
        self,
        sequences: Sequence[str],
        *,
        per_nucleotide: bool = False,
        pooling: Pooling = "max",
        k: int = 0,
        degap: bool = False,
    ) -> LocalResult:
        """Returns the codes of sequences; a faulty one is rejected alone.

        Args:
            sequences: RNA letters, either case, T read as U.
            per_nucleotide: whether to give nucleotide codes, too.
            pooling: how nucleotides become the code of their sequence.
            k: features kept for each nucleotide, at most the dictionary's; 0 for all.
            degap: whether to take gap signs out first.

        Raises:
            InvalidRequestError: k is out of range.
        """
        if not 0 <= k <= self.k:
            raise InvalidRequestError("k", f"{k} is not in 0 to {self.k}")
        recipe = Recipe(k or self.k, pooling)
        jobs: dict[int, Job] = {}
        rejections = []
        for i, sequence in enumerate(sequences):
            try:
                text = read_sequence(
                    sequence, f"sequences[{i}]", self._lm.max_nucleotides, degap=degap
                )
            except InvalidRequestError as error:
                reason = reason_of(error).lower()
                rejections.append(LocalRejection(i, reason, str(error)))
                continue
            jobs[i] = Job(tokenise(text), recipe)
        return self._result(
            len(sequences), self._run(jobs), tuple(rejections), per_nucleotide
        )

    def _run(self, jobs: dict[int, Job]) -> dict[int, Encoding]:
        """Returns the encoding of each job, computed in batches of like lengths."""
        left = sorted(jobs, key=lambda i: len(jobs[i].tokens))
        done: dict[int, Encoding] = {}
        while left:
            line = [Waiting(None, len(jobs[i].tokens)) for i in left]
            taken = [left[place] for place in plan(line, _BATCH_TOKENS)]
            batch = [jobs[i] for i in taken]
            encodings = encode_batch(self._lm, self._dictionary, batch)
            done.update(zip(taken, encodings, strict=True))
            left = [i for i in left if i not in done]
        return done

    def _result(
        self,
        n_sequences: int,
        done: dict[int, Encoding],
        rejections: tuple[LocalRejection, ...],
        per_nucleotide: bool,
    ) -> LocalResult:
        n_features = self._dictionary.sae.n_features
        nothing = Codes.from_topk(
            np.empty((0, 1), np.int64), np.empty((0, 1), np.float32), n_features
        )
        rows = [done[i].codes if i in done else nothing for i in range(n_sequences)]
        pooled = [done[i].pooled if i in done else None for i in range(n_sequences)]
        fvus = [done[i].fvu if i in done else np.nan for i in range(n_sequences)]
        return LocalResult(
            np.array([len(codes) for codes in rows], np.int64),
            _stacked(pooled, n_features),
            Codes.concatenate([nothing, *rows]) if per_nucleotide else None,
            np.array(fvus, np.float32),
            rejections,
        )


def _stacked(codes: Sequence[SequenceCode | None], n_features: int) -> Codes:
    """Returns one row a code, an empty one for None."""
    counts = [0 if code is None else len(code.indices) for code in codes]
    indices = [code.indices for code in codes if code is not None]
    values = [code.values for code in codes if code is not None]
    return Codes(
        np.cumsum([0, *counts], dtype=np.int64),
        np.concatenate([np.empty(0, np.uint32), *indices]),
        np.concatenate([np.empty(0, np.float32), *values]),
        n_features,
    )

"""The paths of the server in the caller's own process, without a server.

`ribolex encode --local` and `ribolex embed --local` find them by the entry-point group
`ribolex.local`. The answers are those of a server. Knows nothing of queues, gRPC or
files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64

from ribolex.dictionary import Codes, Pooling, SequenceCode
from ribolex.errors import InvalidRequestError
from ribolex.lm import Hook, load_lm
from ribolex.lm.precision import Precision
from ribolex.registry import open_registry
from ribolex.server.dictionaries import check_fit, choose_default
from ribolex.server.engine.embedding import DensePooling, EmbedTask, View
from ribolex.server.engine.encoding import (
    EncodeTask,
    Encoding,
    Recipe,
    read_sequence,
)
from ribolex.server.engine.task import compute
from ribolex.server.settings import BUNDLED, MAX_NUCLEOTIDES
from ribolex.server.status import reason_of


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


@dataclass(frozen=True, slots=True, eq=False)
class LocalRows:
    """The activations of a batch of sequences.

    A sequence that was refused has no rows and no nucleotides.
    """

    rows: Float[np.ndarray, "row layer d_model"]
    """Of all sequences, one after the other."""
    n_nucleotides: Int64[np.ndarray, " sequence"]
    layers: tuple[int, ...]
    """Of the middle axis, rising."""
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
        precision: Precision = "float32",
    ) -> None:
        """Loads both; takes seconds.

        Args:
            model: "bundled", a name of `ribolex models list`, or a path.
            dictionary: "name" or "name@version"; None for what a server would choose.
            registry: folder or URL of published dictionaries; None for the bundled
                ones.
            device: where to compute, as torch names it.
            precision: of the model's matrix products.

        Raises:
            CorruptInputError: the model cannot be read.
            DictionaryNotFoundError: there is no such dictionary, or none that fits.
            IncompatibleDictionaryError: it was made for another model.
        """
        self._lm = load_lm(model, device=device, precision=precision)
        store = open_registry(registry or BUNDLED)
        found = store.get(dictionary or choose_default(store, self._lm))
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
        read = _read(sequences, degap=degap)
        tasks = [EncodeTask(t, self._dictionary, recipe) for t in read.texts.values()]
        done = dict(zip(read.texts, compute(self._lm, tasks), strict=True))
        return self._result(len(sequences), done, read.rejections, per_nucleotide)

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


class LocalEmbedder:
    """A language model. To be used by one thread at a time.

    Attributes:
        model_name: Its name.
        model_digest: SHA-256 over its weights.
    """

    def __init__(
        self,
        model: str = BUNDLED,
        *,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        """Loads it; takes seconds.

        Args:
            model: "bundled", a name of `ribolex models list`, or a path.
            device: where to compute, as torch names it.
            precision: of the model's matrix products.

        Raises:
            CorruptInputError: the model cannot be read.
        """
        self._lm = load_lm(model, device=device, precision=precision)
        self.model_name = self._lm.name
        self.model_digest = self._lm.digest

    def embed(
        self,
        sequences: Sequence[str],
        *,
        layers: Sequence[int] = (),
        hook: Hook = "normed",
        pooling: DensePooling | None = None,
        half: bool = False,
        degap: bool = False,
    ) -> LocalRows:
        """Returns the activations of sequences; a faulty one is rejected alone.

        Args:
            sequences: RNA letters, either case, T read as U.
            layers: counted from 1; none of them means the last.
            hook: "normed" is what the next layer reads, "raw" the layer's output.
            pooling: over the nucleotides; None for a row each.
            half: whether to give float16.
            degap: whether to take gap signs out first.

        Raises:
            InvalidRequestError: the model has no such layer.
        """
        view = View.of(self._lm, layers, hook, pooling, is_half=half)
        read = _read(sequences, degap=degap)
        tasks = [EmbedTask(text, view) for text in read.texts.values()]
        done = dict(zip(read.texts, compute(self._lm, tasks), strict=True))
        dtype = np.float16 if half else np.float32
        nothing = np.empty((0, len(view.layers), self._lm.config.d_model), dtype)
        lengths = [len(read.texts.get(i, "")) for i in range(len(sequences))]
        return LocalRows(
            np.concatenate([nothing, *(done[i].rows for i in sorted(done))]),
            np.array(lengths, np.int64),
            view.layers,
            read.rejections,
        )


class _Read(NamedTuple):
    """Sequences that were read, by their places, and those that were refused."""

    texts: dict[int, str]
    rejections: tuple[LocalRejection, ...]


def _read(sequences: Sequence[str], *, degap: bool) -> _Read:
    texts, rejections = {}, []
    for i, sequence in enumerate(sequences):
        try:
            texts[i] = read_sequence(
                sequence, f"sequences[{i}]", MAX_NUCLEOTIDES, degap=degap
            )
        except InvalidRequestError as error:
            reason = reason_of(error).lower()
            rejections.append(LocalRejection(i, reason, str(error)))
    return _Read(texts, tuple(rejections))


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

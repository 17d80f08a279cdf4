"""Codes and activations without a server, by what is installed beside the client.

Found by the entry-point group `ribolex.local`, since the client itself imports
nothing that has a model. Answers as a `Client` does.
"""

from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ribolex.client import records
from ribolex.client.codes import SparseCodes
from ribolex.client.errors import NotReadyError
from ribolex.client.stream import in_batches

_MAX_SEQUENCES = 256
_MAX_NUCLEOTIDES = 32_768


class _Codes(Protocol):
    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.uint32]
    values: npt.NDArray[np.float32]
    n_features: int


class _Rejection(Protocol):
    index: int
    reason: str
    message: str


class _Result(Protocol):
    n_nucleotides: npt.NDArray[np.int64]
    sequence_codes: _Codes
    nucleotide_codes: _Codes | None
    fvu: npt.NDArray[np.float32]
    rejections: Sequence[_Rejection]


class _Encoder(Protocol):
    """What the entry point gives when called with model, dictionary and registry."""

    dictionary_name: str
    dictionary_version: int

    def encode(
        self,
        sequences: Sequence[str],
        *,
        per_nucleotide: bool,
        pooling: str,
        k: int,
        degap: bool,
    ) -> _Result: ...


class _Rows(Protocol):
    rows: npt.NDArray[Any]
    n_nucleotides: npt.NDArray[np.int64]
    layers: tuple[int, ...]
    rejections: Sequence[_Rejection]


class _Embedder(Protocol):
    """What the entry point gives when called with a model."""

    model_name: str
    model_digest: str

    def embed(
        self,
        sequences: Sequence[str],
        *,
        layers: Sequence[int],
        hook: str,
        pooling: str | None,
        half: bool,
        degap: bool,
    ) -> _Rows: ...


class LocalEncoder:
    """A model and a dictionary in this process. To be used by one thread at a time."""

    def __init__(
        self,
        *,
        model: str = "bundled",
        dictionary: str | None = None,
        registry: str | None = None,
        device: str = "cpu",
        precision: str = "float32",
    ) -> None:
        """Loads both; takes seconds.

        Args:
            model: "bundled", a name of `ribolex models list`, or a path.
            dictionary: "name", "name@version", or None for the first that fits.
            registry: folder or URL of published dictionaries; None for the bundled
                ones.
            device: "cpu", "cuda" or "cuda:1".
            precision: of the model's matrix products: "float32", "bfloat16", or "auto",
                which is bfloat16 where the device has units for it.

        Raises:
            NotReadyError: no encoder is installed.
        """
        make = _entry("encoder")
        self._encoder: _Encoder = make(
            model, dictionary, registry=registry, device=device, precision=precision
        )

    def encode_stream(
        self,
        sequences: Iterable[str],
        *,
        level: records.Level = "sequence",
        pooling: records.Pooling = "max",
        k: int | None = None,
        degap: bool = False,
    ) -> Iterator[records.Encoded]:
        """Yields the codes of any number of sequences, batch by batch, in order.

        Refused sequences are skipped, as by `Client.encode_stream` when so asked.
        Arguments are those of `Client.encode_stream`.
        """
        ref = records.DictionaryRef(
            self._encoder.dictionary_name, self._encoder.dictionary_version
        )
        for batch in in_batches(sequences, len, _MAX_SEQUENCES, _MAX_NUCLEOTIDES):
            result = self._encoder.encode(
                batch,
                per_nucleotide=level != "sequence",
                pooling=pooling,
                k=k or 0,
                degap=degap,
            )
            nucleotides = result.nucleotide_codes
            yield records.Encoded(
                n_nucleotides=result.n_nucleotides,
                sequence_codes=_codes(result.sequence_codes),
                nucleotide_codes=None if nucleotides is None else _codes(nucleotides),
                fvu=result.fvu,
                rejections=tuple(_rejection(one) for one in result.rejections),
                dictionary=ref,
                timing=records.Timing(0.0, 0.0, 0.0),
            )


class LocalEmbedder:
    """A language model in this process. To be used by one thread at a time."""

    def __init__(
        self,
        *,
        model: str = "bundled",
        device: str = "cpu",
        precision: str = "float32",
    ) -> None:
        """Loads it; takes seconds.

        Args:
            model: "bundled", a name of `ribolex models list`, or a path.
            device: as of `LocalEncoder`.
            precision: as of `LocalEncoder`.

        Raises:
            NotReadyError: nothing is installed that runs it.
        """
        self._embedder: _Embedder = _entry("embedder")(
            model, device=device, precision=precision
        )

    def embed_stream(
        self,
        sequences: Iterable[str],
        *,
        layers: Sequence[int] = (),
        hook: records.Hook = "normed",
        pooling: records.DensePooling | None = None,
        half: bool = False,
        degap: bool = False,
    ) -> Iterator[records.Embedded]:
        """Yields the activations of any number of sequences, batch by batch, in order.

        Refused sequences are skipped, as by `Client.embed_stream` when so asked.
        Arguments are those of `Client.embed_stream`.
        """
        max_size = max(1, _MAX_NUCLEOTIDES // max(1, len(set(layers))))
        for batch in in_batches(sequences, len, _MAX_SEQUENCES, max_size):
            found = self._embedder.embed(
                batch, layers=layers, hook=hook, pooling=pooling, half=half, degap=degap
            )
            n_rows = found.n_nucleotides
            if pooling is not None:
                n_rows = (n_rows > 0).astype(np.int64)
            yield records.Embedded(
                activations=found.rows,
                n_nucleotides=found.n_nucleotides,
                row_offsets=np.concatenate([np.zeros(1, np.int64), n_rows]).cumsum(),
                layers=found.layers,
                hook=hook,
                pooling=pooling,
                model_name=self._embedder.model_name,
                model_digest=self._embedder.model_digest,
                rejections=tuple(_rejection(one) for one in found.rejections),
                timing=records.Timing(0.0, 0.0, 0.0),
            )


def _entry(name: str) -> Any:
    """Returns what is installed under a name.

    Raises:
        NotReadyError: nothing is.
    """
    found = list(entry_points(group="ribolex.local", name=name))
    try:
        return found[0].load()
    except (IndexError, ModuleNotFoundError) as error:
        message = f"doing without a server needs ribolex[server]: {error}"
        raise NotReadyError(message) from error


def _codes(codes: _Codes) -> SparseCodes:
    return SparseCodes(codes.indptr, codes.indices, codes.values, codes.n_features)


def _rejection(one: _Rejection) -> records.Rejection:
    """Returns why a sequence was refused, as a server says it: the place apart."""
    message = one.message.removeprefix(f"sequences[{one.index}]: ")
    return records.Rejection(one.index, one.reason, message)

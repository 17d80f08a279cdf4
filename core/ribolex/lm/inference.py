"""Runs a RiNALMo over sequences: activations of any layer, letter probabilities.

Owns batching and the device; knows nothing of dictionaries or serving. One
`LanguageModel` may be used from one thread at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ribolex.errors import InvalidRequestError
from ribolex.lm.arrival import Arrive, one_ahead, send_home
from ribolex.lm.configuration import MAX_NUCLEOTIDES, LmConfig
from ribolex.lm.fast import FastNetwork
from ribolex.lm.hub import locate
from ribolex.lm.model import Hook, RiNALMo
from ribolex.lm.packing import Packed, bucket, hide, pack
from ribolex.lm.precision import Precision, choose_dtype
from ribolex.lm.weights import digest_network, load_network, read_name
from ribolex.lm.windows import (
    Piece,
    hidden_rows,
    kept_rows,
    pieces,
    placed_rows,
    scatter,
)
from ribolex.rna.alphabet import CLS, EOS, MASK, VOCABULARY, normalise, tokenise

# Tokens at a time. A CPU is fastest while a batch fits its cache: on a Zen 4 core 512
# to 1,024 tokens for every size from nano to giga, and 8,192 some 15 % slower.
_TOKENS_PER_CPU_THREAD = 1024
_TOKENS_PER_GPU = 32_768


class Span(NamedTuple):
    """Activations of a stretch of one RNA."""

    start: int
    """Its first nucleotide, 0-based."""
    states: dict[int, Float[Tensor, "_nucleotide d_model"]]
    """By layer; float32 on the model's device."""


class Replacement(NamedTuple):
    """What a layer's activations are replaced with on their way through the model."""

    layer: int
    """Whose activations are replaced, 1-based."""
    source: int
    """Whose activations decide with what."""
    hook: Hook
    """Of both layers."""
    rebuild: Callable[[Float[Tensor, "nucleotide d_model"]], Tensor]
    """Gives, for the source's activations, those that the layer is to have."""


class ReadAndScored(NamedTuple):
    """Activations of one layer, and the letters' logits."""

    states: Float[Tensor, "nucleotide d_model"]
    logits: Float[Tensor, "nucleotide letter"]


class Laid(NamedTuple):
    """Windows, and their tokens packed on the device in the same order."""

    pieces: list[Piece]
    packed: Packed


class LanguageModel:
    """A loaded RiNALMo with its identity.

    The same RNA gets the same activations alone and in any batch: in float32 to 1e-5;
    in bfloat16 they are off from float32 by some thousandths of their length, in any
    batch (docs/benchmarks.md). An RNA beyond the trained context is read in
    overlapping windows of `max_nucleotides`; each nucleotide takes its activation from
    the window that it lies deepest in. Memory is bounded by the windows of a batch,
    results aside. Read-only after construction.

    Attributes:
        name: As its folder or file says.
        digest: SHA-256 of the float32 weights, whatever it computes in.
        dtype: Of its matrix products.
    """

    def __init__(
        self,
        network: RiNALMo,
        name: str,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        self._device = find_device(device)
        self.name = name
        self.digest = digest_network(network)
        self.dtype = choose_dtype(precision, self._device)
        self._network = FastNetwork(
            network, self._device, self.dtype, n_tokens=self._batch_tokens
        )

    @property
    def config(self) -> LmConfig:
        """Sizes of the network."""
        return self._network.config

    @property
    def max_nucleotides(self) -> int:
        """Longest sequence that fits the trained context; longer ones are cut."""
        return MAX_NUCLEOTIDES

    def activations(
        self, sequences: Sequence[str], layers: Sequence[int], hook: Hook = "normed"
    ) -> list[dict[int, Float[np.ndarray, "_nucleotide d_model"]]]:
        """Returns each sequence's activations by layer, one row a nucleotide.

        Args:
            sequences: RNA letters, either case, T or U.
            layers: 1-based, at most `config.n_layers`; compute stops at the deepest.
            hook: "normed" is what the next layer reads, "raw" the block's output.

        Raises:
            InvalidSequenceError: names the sequence.
            InvalidRequestError: a layer that the model does not have.
        """
        self._check_layers(layers)
        tokens = self.prepare(sequences)
        shapes = [(len(sequence) - 2, self.config.d_model) for sequence in tokens]
        out: list[dict[int, Float[np.ndarray, "_nucleotide d_model"]]]
        out = [{layer: np.empty(s, np.float32) for layer in layers} for s in shapes]
        for batch, arriving in one_ahead(self._arrivals(tokens, layers, hook)):
            for layer, arrive in arriving:
                scatter(arrive(), batch.pieces, [own[layer] for own in out])
        return out

    def spans(
        self,
        tokens: UInt8[np.ndarray, " token"],
        layers: Sequence[int],
        hook: Hook = "normed",
    ) -> Iterator[Span]:
        """Yields one RNA's activations from its start to its end, in adjoining spans.

        At most some windows are in memory at a time, however long the RNA is.

        Args:
            tokens: a framed token array from `prepare`.
            layers: as in `activations`.
            hook: as in `activations`.

        Raises:
            InvalidRequestError: a layer that the model does not have.
        """
        self._check_layers(layers)
        for batch in self._batches(pieces([tokens])):
            states = dict(self._layers(batch.packed, layers, hook))
            for piece, rows in zip(batch.pieces, kept_rows(batch.pieces), strict=True):
                own = {layer: x[rows] for layer, x in states.items()}
                yield Span(piece.window.kept_start, own)

    def lay_out(self, windows: Sequence[Piece]) -> list[Laid]:
        """Returns windows packed for `read`, like lengths together.

        May be called from any thread, while another one reads.
        """
        return [*self._batches(windows)]

    def read(
        self, laid: Laid, layers: Sequence[int], hook: Hook = "normed"
    ) -> dict[int, Float[Tensor, "nucleotide d_model"]]:
        """Returns, by layer, the activations of what windows answer for.

        Args:
            laid: from `lay_out`.
            layers: as in `activations`.
            hook: as in `activations`.

        Returns:
            float32 on the model's device; window after window as `laid` has them.
        """
        rows = _rows(kept_rows(laid.pieces)).to(self._device)
        with torch.inference_mode():
            states = self._layers(laid.packed, layers, hook)
            return {layer: x[rows] for layer, x in states}

    def read_and_score(self, laid: Laid, layer: int, hook: Hook) -> ReadAndScored:
        """Returns one layer's activations, as `read`, and the letters' logits."""
        last, norm = self.config.n_layers, self._network.normed
        rows = _rows(kept_rows(laid.pieces)).to(self._device)
        with torch.inference_mode():
            raw = dict(self._layers(laid.packed, [layer, last], "raw"))
            state = norm(layer, raw[layer]) if hook == "normed" else raw[layer]
            logits = self._network.logits(norm(last, raw[last])[rows])
        return ReadAndScored(state[rows], logits)

    def score(
        self,
        laid: Laid,
        masked: Sequence[Sequence[int]] | None = None,
        replacement: Replacement | None = None,
    ) -> Float[Tensor, "nucleotide letter"]:
        """Returns the logits of what windows answer for, rows as those of `read`.

        Args:
            laid: from `lay_out`.
            masked: as in `logits`, of each RNA by its member.
            replacement: as in `logits`, of layers that the model has.
        """
        packed, rows = laid.packed, _rows(kept_rows(laid.pieces)).to(self._device)
        if masked is not None:
            packed = hide(packed, hidden_rows(laid.pieces, masked))
        return self._logits(packed, replacement)[rows]

    def hidden(
        self, tokens: Sequence[UInt8[np.ndarray, " _token"]], layer: int, hook: Hook
    ) -> Float[Tensor, "nucleotide d_model"]:
        """Returns one layer's activations of all sequences, one after the other.

        Args:
            tokens: framed token arrays from `prepare`.
            layer: 1-based.
            hook: as in `activations`.

        Returns:
            float32 on the model's device; rows follow the order of `tokens`.
        """
        ends = np.cumsum([0] + [len(sequence) - 2 for sequence in tokens]).tolist()
        out = torch.empty((ends[-1], self.config.d_model), device=self._device)
        for batch in self._batches(pieces(tokens)):
            target = _rows(placed_rows(batch.pieces, ends)).to(self._device)
            out[target] = self.read(batch, [layer], hook)[layer]
        return out

    def logits(
        self,
        sequences: Sequence[str],
        masked: Sequence[Sequence[int]] | None = None,
        replacement: Replacement | None = None,
    ) -> list[Float[np.ndarray, "_nucleotide letter"]]:
        """Returns each sequence's logits over the 22 tokens of the vocabulary.

        Args:
            sequences: RNA letters, either case, T or U.
            masked: for each sequence the 0-based nucleotides to hide by MASK. The
                network rescales its input by the share of masks that it sees; with
                windows that is each window's own share.
            replacement: of a layer's activations at all nucleotides; those of CLS and
                EOS stay.

        Raises:
            InvalidSequenceError: names the sequence.
            InvalidRequestError: a masked position outside its sequence, or a layer
                that the model does not have.
        """
        if replacement is not None:
            self._check_layers([replacement.source, replacement.layer])
        tokens = self.prepare(sequences)
        if masked is not None:
            tokens = [_mask(*pair) for pair in zip(tokens, masked, strict=True)]
        shapes = [(len(sequence) - 2, len(VOCABULARY)) for sequence in tokens]
        out = [np.empty(shape, np.float32) for shape in shapes]
        for batch in self._batches(pieces(tokens)):
            logits = self._logits(batch.packed, replacement)
            scatter(logits.cpu().numpy(), batch.pieces, out)
        return out

    def prepare(self, sequences: Sequence[str]) -> list[UInt8[np.ndarray, " _token"]]:
        """Returns the framed token arrays of sequences of any length, checked.

        Raises:
            InvalidSequenceError: names the sequence.
        """
        return [
            tokenise(normalise(sequence, f"sequences[{index}]"))
            for index, sequence in enumerate(sequences)
        ]

    @property
    def _batch_tokens(self) -> int:
        if self._device.type != "cpu":
            return _TOKENS_PER_GPU
        return min(_TOKENS_PER_CPU_THREAD * torch.get_num_threads(), _TOKENS_PER_GPU)

    def _batches(self, windows: Sequence[Piece]) -> Iterator[Laid]:
        lengths = [len(piece.tokens) for piece in windows]
        for group in bucket(lengths, self._batch_tokens):
            batch = [windows[i] for i in group]
            packed = pack([piece.tokens for piece in batch])
            yield Laid(batch, packed.to(self._device))

    def _arrivals(
        self,
        tokens: Sequence[UInt8[np.ndarray, " _token"]],
        layers: Sequence[int],
        hook: Hook,
    ) -> Iterator[tuple[Laid, list[tuple[int, Arrive]]]]:
        for batch in self._batches(pieces(tokens)):
            states = self._layers(batch.packed, layers, hook)
            yield batch, [(layer, send_home(x)) for layer, x in states]

    @torch.inference_mode()
    def _layers(
        self, packed: Packed, layers: Sequence[int], hook: Hook
    ) -> list[tuple[int, Float[Tensor, "token d_model"]]]:
        wanted, out = set(layers), []
        for layer, raw in enumerate(self._network.raw_outputs(packed), start=1):
            if layer in wanted:
                state = self._network.normed(layer, raw) if hook == "normed" else raw
                out.append((layer, state))
            if layer == max(wanted):
                break
        return out

    @torch.inference_mode()
    def _logits(
        self, packed: Packed, replacement: Replacement | None
    ) -> Float[Tensor, "token letter"]:
        if replacement is None:
            last = self.config.n_layers
            ((_, representation),) = self._layers(packed, [last], "normed")
            return self._network.logits(representation)
        layer, source, hook, rebuild = replacement
        states = dict(self._layers(packed, [source, layer], hook))
        inside = (packed.tokens != CLS) & (packed.tokens != EOS)
        read = states[layer]
        read[inside] = rebuild(states[source][inside]).to(read.dtype)
        if hook == "raw":
            read = self._network.normed(layer, read)
        return self._network.logits(self._network.representation(packed, layer, read))

    def _check_layers(self, layers: Sequence[int]) -> None:
        for layer in layers:
            if not 1 <= layer <= self.config.n_layers:
                raise InvalidRequestError(
                    "layers",
                    f"layer {layer} is not in 1..{self.config.n_layers} of {self.name}",
                )
        if not layers:
            raise InvalidRequestError("layers", "name at least one layer")


def _rows(slices: Sequence[slice]) -> Int[Tensor, " row"]:
    parts = [np.arange(part.start, part.stop) for part in slices]
    return torch.from_numpy(np.concatenate(parts))


def _mask(
    tokens: UInt8[np.ndarray, " token"], positions: Sequence[int]
) -> UInt8[np.ndarray, " token"]:
    n_nucleotides = len(tokens) - 2
    for position in positions:
        if not 0 <= position < n_nucleotides:
            raise InvalidRequestError(
                "masked", f"position {position} is not in 0..{n_nucleotides - 1}"
            )
    hidden = tokens.copy()
    hidden[np.asarray(positions, dtype=np.int64) + 1] = MASK
    return hidden


def find_device(name: str) -> torch.device:
    """Returns a device by its name: "cpu", "cuda" or "cuda:1".

    Raises:
        InvalidRequestError: it is no device, or not here.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        message = f"{name!r} is no device; expected cpu, cuda or cuda:NUMBER"
        raise InvalidRequestError("device", message) from error
    n_cuda = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= n_cuda:
        message = f"{name!r} is not here: torch sees {n_cuda} CUDA devices"
        raise InvalidRequestError("device", message)
    return device


def load_lm(
    path_or_name: str | Path,
    *,
    device: str = "cpu",
    precision: Precision = "float32",
) -> LanguageModel:
    """Returns the model at a path, or the one in the box for "bundled".

    Args:
        path_or_name: "bundled", a name or a path, as `load_network` takes them.
        device: where the model runs, as torch names it.
        precision: of its matrix products; "auto" takes bfloat16 where the device has
            units for it. Name and digest are those of the float32 weights.

    Raises:
        CorruptInputError: what lies there is no RiNALMo.
        ModelNotFoundError: the name is not known, or its weights are not here.
        InvalidRequestError: there is no such device.
    """
    path = locate(path_or_name)
    return LanguageModel(load_network(path), read_name(path), device, precision)

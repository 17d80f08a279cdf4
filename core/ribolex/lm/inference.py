"""Runs a RiNALMo over sequences: activations of any layer, letter probabilities.

Owns batching and the device; knows nothing of dictionaries or serving. One
`LanguageModel` may be used from one thread at a time.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ribolex.errors import InvalidRequestError
from ribolex.lm.configuration import MAX_NUCLEOTIDES, LmConfig
from ribolex.lm.hub import locate
from ribolex.lm.model import Hook, RiNALMo
from ribolex.lm.packing import Rectangle, bucket, collate
from ribolex.lm.weights import digest_network, load_network, read_name
from ribolex.lm.windows import Piece, pieces
from ribolex.rna.alphabet import MASK, VOCABULARY, normalise, tokenise

_BATCH_TOKENS = 8192


class Span(NamedTuple):
    """Activations of a stretch of one RNA."""

    start: int
    """Its first nucleotide, 0-based."""
    states: dict[int, Float[Tensor, "_nucleotide d_model"]]
    """By layer; float32 on the model's device."""


class _Batch(NamedTuple):
    """One rectangle on the device and the windows it holds, one a row."""

    pieces: list[Piece]
    rectangle: Rectangle


class LanguageModel:
    """A loaded RiNALMo with its identity.

    The same RNA gets the same activations alone and in any batch (float32, to
    1e-5). An RNA beyond the trained context is read in overlapping windows of
    `max_nucleotides`; each nucleotide takes its activation from the window that it
    lies deepest in. Memory is bounded by the windows of a batch, results aside.
    Read-only after construction.
    """

    def __init__(self, network: RiNALMo, name: str, device: str = "cpu") -> None:
        self._network = network.to(device).eval().requires_grad_(False)
        self._device = torch.device(device)
        self.name = name
        self.digest = digest_network(network)

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
        for batch in self._batches(pieces(tokens)):
            for layer, states in self._layers(batch.rectangle, layers, hook):
                _scatter(states, batch.pieces, [own[layer] for own in out])
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
            states = dict(self._layers(batch.rectangle, layers, hook))
            for row, piece in enumerate(batch.pieces):
                own = {layer: x[row, piece.kept].float() for layer, x in states.items()}
                yield Span(piece.window.kept_start, own)

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
        lengths = torch.tensor([len(sequence) - 2 for sequence in tokens])
        starts = (torch.cumsum(lengths, 0) - lengths).tolist()
        out = torch.empty(
            (int(lengths.sum()), self.config.d_model), device=self._device
        )
        for batch in self._batches(pieces(tokens)):
            for _, states in self._layers(batch.rectangle, [layer], hook):
                for row, piece in enumerate(batch.pieces):
                    start = starts[piece.member] + piece.window.kept_start
                    stop = starts[piece.member] + piece.window.kept_stop
                    out[start:stop] = states[row, piece.kept]
        return out

    def logits(
        self, sequences: Sequence[str], masked: Sequence[Sequence[int]] | None = None
    ) -> list[Float[np.ndarray, "_nucleotide letter"]]:
        """Returns each sequence's logits over the 22 tokens of the vocabulary.

        Args:
            sequences: RNA letters, either case, T or U.
            masked: for each sequence the 0-based nucleotides to hide by MASK. The
                network rescales its input by the share of masks that it sees; with
                windows that is each window's own share.

        Raises:
            InvalidSequenceError: names the sequence.
            InvalidRequestError: a masked position outside its sequence.
        """
        tokens = self.prepare(sequences)
        if masked is not None:
            tokens = [_mask(*pair) for pair in zip(tokens, masked, strict=True)]
        shapes = [(len(sequence) - 2, len(VOCABULARY)) for sequence in tokens]
        out = [np.empty(shape, np.float32) for shape in shapes]
        last = self.config.n_layers
        for batch in self._batches(pieces(tokens)):
            for _, states in self._layers(batch.rectangle, [last], "normed"):
                with torch.inference_mode():
                    logits = self._network.head(states)
                _scatter(logits, batch.pieces, out)
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

    def _batches(self, windows: Sequence[Piece]) -> Iterator[_Batch]:
        for group in bucket([len(piece.tokens) for piece in windows], _BATCH_TOKENS):
            batch = [windows[i] for i in group]
            rectangle = collate([piece.tokens for piece in batch])
            yield _Batch(batch, rectangle.to(self._device))

    @torch.inference_mode()
    def _layers(
        self, rectangle: Rectangle, layers: Sequence[int], hook: Hook
    ) -> list[tuple[int, Float[Tensor, "row token d_model"]]]:
        wanted, out = set(layers), []
        outputs = self._network.raw_outputs(rectangle.tokens, rectangle.is_token)
        for layer, raw in enumerate(outputs, start=1):
            if layer in wanted:
                state = self._network.normed(layer, raw) if hook == "normed" else raw
                out.append((layer, state))
            if layer == max(wanted):
                break
        return out

    def _check_layers(self, layers: Sequence[int]) -> None:
        for layer in layers:
            if not 1 <= layer <= self.config.n_layers:
                raise InvalidRequestError(
                    "layers",
                    f"layer {layer} is not in 1..{self.config.n_layers} of {self.name}",
                )
        if not layers:
            raise InvalidRequestError("layers", "name at least one layer")


def _scatter(
    states: Float[Tensor, "row token width"],
    windows: Sequence[Piece],
    out: Sequence[Float[np.ndarray, "_nucleotide width"]],
) -> None:
    """Writes what each window keeps to where it belongs in its RNA's array."""
    host = states.float().cpu().numpy()
    for row, (member, window, _) in enumerate(windows):
        kept = slice(window.kept_start, window.kept_stop)
        out[member][kept] = host[row, windows[row].kept]


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


def load_lm(path_or_name: str | Path, *, device: str = "cpu") -> LanguageModel:
    """Returns the model at a path, or the one in the box for "bundled".

    Args:
        path_or_name: "bundled", a name or a path, as `load_network` takes them.
        device: where the model runs, as torch names it.

    Raises:
        CorruptInputError: what lies there is no RiNALMo.
        ModelNotFoundError: the name is not known, or its weights are not here.
    """
    path = locate(path_or_name)
    return LanguageModel(load_network(path), read_name(path), device)

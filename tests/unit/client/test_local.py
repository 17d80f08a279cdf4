"""Encoding in this process: whatever is installed answers as a server would."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from ribolex.client import NotReadyError, Rejection, SparseCodes, local


@dataclass
class _Refusal:
    index: int
    reason: str
    message: str


class _Fake:
    """An encoder in whose codes feature 0 counts the letters of a sequence."""

    dictionary_name, dictionary_version = "fake", 2

    def __init__(self, model: str, dictionary: str | None, **options: str | None):
        self.made_from = (model, dictionary, options)
        self.batches: list[int] = []

    def encode(self, sequences: Sequence[str], **options: Any) -> Any:
        self.batches.append(len(sequences))
        n_rows = len(sequences)
        lengths = np.array([len(sequence) for sequence in sequences])
        values = lengths.astype(np.float32)

        class Result:
            n_nucleotides = lengths
            sequence_codes = SparseCodes(
                np.arange(n_rows + 1), np.zeros(n_rows, np.uint32), values, 8
            )
            nucleotide_codes = None
            fvu = np.zeros(n_rows, np.float32)
            rejections = (_Refusal(0, "invalid_sequence", "sequences[0]: is odd"),)

        return Result()


class _Entry:
    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def load(self) -> object:
        if self._error is not None:
            raise self._error
        return _Fake


def test_sequences_come_out_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "entry_points", lambda group, name: [_Entry()])
    encoder = local.LocalEncoder(model="some", dictionary="fake", registry="here")
    sequences = ("A" * (n % 50 + 1) for n in range(600))
    batches = list(encoder.encode_stream(sequences))
    found = np.concatenate([batch.n_nucleotides for batch in batches])
    assert found.tolist() == [n % 50 + 1 for n in range(600)]
    assert [len(batch) for batch in batches] == [256, 256, 88]
    assert str(batches[0].dictionary) == "fake@2"
    assert batches[0].rejections == (Rejection(0, "invalid_sequence", "is odd"),)


@pytest.mark.parametrize(
    "entries",
    [[], [_Entry(ModuleNotFoundError("No module named 'torch'"))]],
    ids=["no entry point", "no torch"],
)
def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, entries: list[_Entry]
) -> None:
    monkeypatch.setattr(local, "entry_points", lambda group, name: entries)
    with pytest.raises(NotReadyError, match=r"needs ribolex\[server\]"):
        local.LocalEncoder()
    with pytest.raises(NotReadyError, match=r"needs ribolex\[server\]"):
        local.LocalEmbedder()

"""A fitted probe: features with weights, as a value and as JSON.

Knows nothing of how it was fitted.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ribolex.client.codes import SparseCodes
from ribolex.client.errors import CorruptInputError, IncompatibleDictionaryError
from ribolex.client.records import DictionaryRef, Pooling

_FORMAT = "ribolex-probe"
_VERSION = 1
_POOLINGS = "max", "mean", "count"


@dataclass(frozen=True, slots=True)
class Weight:
    """A feature that a label is read off."""

    feature: int
    weight: float
    """Of log(1 + value)."""
    label: str = ""
    """What the dictionary says the feature stands for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How one label is read off a code."""

    label: str
    intercept: float
    weights: tuple[Weight, ...]


class Answer(NamedTuple):
    """What a probe says of one RNA."""

    label: str
    """The likeliest."""
    probabilities: Mapping[str, float]
    """Of every label by itself, against all others; they need not add up to 1."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted probe; read-only."""

    dictionary: DictionaryRef
    """The version that it reads, and no other."""
    n_features: int
    pooling: Pooling
    readings: tuple[Reading, ...]
    """One a label, at least two."""
    facts: Mapping[str, Any]
    """What it was fitted to, and what that is worth; plain JSON."""

    def apply(self, codes: SparseCodes) -> list[Answer]:
        """Returns what the probe says of every row.

        Args:
            codes: [RNA, feature], pooled as the probe says.

        Raises:
            IncompatibleDictionaryError: codes of another width.
        """
        if codes.n_features != self.n_features:
            raise IncompatibleDictionaryError(
                f"codes of {codes.n_features} features, expected {self.n_features} "
                f"of {self.dictionary}"
            )
        table = np.zeros((len(self.readings), self.n_features))
        for row, reading in zip(table, self.readings, strict=True):
            for each in reading.weights:
                row[each.feature] = each.weight
        names = [reading.label for reading in self.readings]
        intercepts = np.array([reading.intercept for reading in self.readings])
        out = []
        for i in range(len(codes)):
            indices, values = codes.row(i)
            found = sigmoid(intercepts + table[:, indices] @ np.log1p(values))
            shares = dict(zip(names, found.tolist(), strict=True))
            out.append(Answer(max(names, key=lambda name: shares[name]), shares))
        return out

    def write(self, path: Path) -> None:
        """Writes the probe as JSON."""
        told = {
            "format": _FORMAT,
            "version": _VERSION,
            "dictionary": str(self.dictionary),
            "n_features": self.n_features,
            "pooling": self.pooling,
            "readings": [asdict(reading) for reading in self.readings],
            "facts": dict(self.facts),
        }
        text = json.dumps(told, indent=1, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Probe":
        """Returns the probe of a file.

        Raises:
            CorruptInputError: it holds none, or one of a later format.
            OSError: it cannot be read.
        """
        try:
            told = json.loads(path.read_bytes())
            if told["format"] != _FORMAT or told["version"] != _VERSION:
                raise ValueError(f"{told['format']} {told['version']}")
            return _checked(told)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            message = f"no probe of version {_VERSION}: {type(error).__name__} {error}"
            raise CorruptInputError(str(path), message) from error


def sigmoid(z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns 1 / (1 + exp(-z)) for any z."""
    out: npt.NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * z))
    return out


def _checked(told: Mapping[str, Any]) -> Probe:
    """Returns the probe that JSON tells of.

    Raises:
        KeyError, TypeError, ValueError: it tells of none.
    """
    name, at, version = told["dictionary"].rpartition("@")
    if not at or told["pooling"] not in _POOLINGS:
        raise ValueError("dictionary or pooling")
    n_features = int(told["n_features"])
    readings = tuple(_reading(each, n_features) for each in told["readings"])
    if len(readings) < 2 or len({each.label for each in readings}) < len(readings):
        raise ValueError("two labels or more expected, each once")
    return Probe(
        DictionaryRef(name, int(version)),
        n_features,
        told["pooling"],
        readings,
        dict(told["facts"]),
    )


def _reading(told: Mapping[str, Any], n_features: int) -> Reading:
    weights = tuple(_weight(each, n_features) for each in told["weights"])
    return Reading(_text(told["label"]), _finite(told["intercept"]), weights)


def _weight(told: Mapping[str, Any], n_features: int) -> Weight:
    feature = told["feature"]
    if not isinstance(feature, int) or not 0 <= feature < n_features:
        raise ValueError(f"feature {feature!r} of {n_features}")
    return Weight(feature, _finite(told["weight"]), _text(told["label"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _finite(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def to_dense(codes: Sequence[SparseCodes]) -> npt.NDArray[np.float32]:
    """Returns log(1 + value) of all rows, [RNA, feature]."""
    n_rows = sum(map(len, codes))
    out = np.zeros((n_rows, codes[0].n_features), np.float32)
    start = 0
    for part in codes:
        rows = start + np.repeat(np.arange(len(part)), np.diff(part.indptr))
        out[rows, part.indices] = np.log1p(part.values)
        start += len(part)
    return out

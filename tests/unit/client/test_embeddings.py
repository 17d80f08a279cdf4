"""Files of activations: all of them or none, as numpy and safetensors read them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from ribolex.client import (
    Embedded,
    EmbeddingsWriter,
    InvalidRequestError,
    Rejection,
    Timing,
)


def make(lengths: list[int], seed: int, dtype: type = np.float32) -> Embedded:
    rows: Any = (
        np.random.default_rng(seed).normal(size=(sum(lengths), 2, 3)).astype(dtype)
    )
    counts = np.array(lengths, np.int64)
    return Embedded(
        activations=rows,
        n_nucleotides=counts,
        row_offsets=np.concatenate([[0], counts]).cumsum(),
        layers=(1, 4),
        hook="raw",
        pooling=None,
        model_name="m",
        model_digest="d" * 64,
        rejections=tuple(
            Rejection(i, "invalid_sequence", "no")
            for i, length in enumerate(lengths)
            if not length
        ),
        timing=Timing(0, 0, 0),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_is_written_is_read(tmp_path: Path, dtype: type) -> None:
    one, two = make([3, 0, 1], 0, dtype), make([5], 1, dtype)
    for name in ("x.npz", "x.safetensors"):
        with EmbeddingsWriter(tmp_path / name) as writer:
            writer.add(["a", "bad", "ß"], one)
            writer.add(["a"], two)
    whole = np.concatenate([one.activations, two.activations])
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays["activations"].dtype == dtype
        np.testing.assert_array_equal(arrays["activations"], whole)
        assert arrays["names"].tolist() == ["a", "ß", "a"]
        assert arrays["row_offsets"].tolist() == [0, 3, 4, 9]
        assert arrays["layers"].tolist() == [1, 4]
        words = [arrays[key].item() for key in ("hook", "pooling", "model")]
        assert words == ["raw", "none", "m"]
    with safe_open(tmp_path / "x.safetensors", "numpy") as tensors:
        np.testing.assert_array_equal(tensors.get_tensor("activations"), whole)
        assert tensors.get_tensor("row_offsets").tolist() == [0, 3, 4, 9]
        metadata = tensors.metadata()
    assert json.loads(metadata["names"]) == ["a", "ß", "a"]
    assert metadata["model_digest"] == "d" * 64


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_text("before")
    with pytest.raises(ValueError, match="2 names"), EmbeddingsWriter(path) as writer:
        writer.add(["a", "b"], make([3], 0))
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [
        ("x.npz", "before")
    ]


def test_batches_of_different_kinds_are_not_mixed(tmp_path: Path) -> None:
    with EmbeddingsWriter(tmp_path / "x.npz") as writer:
        writer.add(["a"], make([3], 0))
        with pytest.raises(ValueError, match="was the server changed"):
            writer.add(["b"], make([3], 0, np.float16))


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"'x\.csv' does not end in \.npz or"):
        EmbeddingsWriter(tmp_path / "x.csv")

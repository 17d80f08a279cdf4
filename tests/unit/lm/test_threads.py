"""A container's CPU quota bounds the threads, and nothing else does."""

from pathlib import Path

import pytest
import torch

from ribolex.lm import sensible_threads


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 8),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("6400000 100000\n", 8),
        ("of no kind that we know\n", 8),
        ("100000 0\n", 8),
    ],
)
def test_quota_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    (tmp_path / "cpu.max").write_text(text)
    assert sensible_threads(tmp_path / "cpu.max") == expected


def test_without_a_quota_torch_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert sensible_threads(tmp_path / "absent") == 8

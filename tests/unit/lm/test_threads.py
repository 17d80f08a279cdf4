"""A container's CPU quota bounds the threads, and idle threads keep no helpers."""

import asyncio
import os
import time
from pathlib import Path

import pytest
import torch

from ribolex.lm import in_passing_thread, sensible_threads


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


def n_threads() -> int:
    return len(os.listdir("/proc/self/task"))


def test_what_ended_leaves_no_helpers_of_torch_behind() -> None:
    def compute() -> tuple[float, int]:
        return float(torch.ones(2000, 2000).exp().mean()), n_threads()

    n_before, before = torch.get_num_threads(), n_threads()
    torch.set_num_threads(3)
    try:
        mean, during = asyncio.run(in_passing_thread(compute))
    finally:
        torch.set_num_threads(n_before)
    give_up_s = time.monotonic() + 10
    while n_threads() > before and time.monotonic() < give_up_s:
        time.sleep(0.01)
    assert mean == pytest.approx(2.71828, rel=1e-4)
    assert during > before + 1, "torch did not use helpers: this shows nothing"
    assert n_threads() == before


def test_errors_reach_the_caller() -> None:
    def fail(word: str) -> None:
        raise ValueError(word)

    with pytest.raises(ValueError, match="so it is"):
        asyncio.run(in_passing_thread(fail, "so it is"))

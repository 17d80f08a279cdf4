"""A container's CPU quota bounds the threads, and idle threads keep no helpers."""

import asyncio
import subprocess
import sys
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


_HELPED = """
import asyncio, os, time
import torch
from ribolex.lm import in_passing_thread

def n_threads():
    return len(os.listdir("/proc/self/task"))

def compute():
    return float(torch.ones(2000, 2000).exp().mean()), n_threads()

async def work():
    torch.set_num_threads(3)  # of this thread, too
    before = n_threads()
    mean, during = await in_passing_thread(compute)
    give_up_s = time.monotonic() + 20
    while n_threads() > before and time.monotonic() < give_up_s:
        await asyncio.sleep(0.01)
    print(f"{mean:.4f}", during - before > 1, n_threads() - before)

asyncio.run(work())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_ended_leaves_no_helpers_of_torch_behind() -> None:
    """In a process of its own, in which nobody else begins or ends a thread."""
    command = [sys.executable, "-c", _HELPED]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.split() == ["2.7183", "True", "0"]


def test_errors_reach_the_caller() -> None:
    def fail(word: str) -> None:
        raise ValueError(word)

    with pytest.raises(ValueError, match="so it is"):
        asyncio.run(in_passing_thread(fail, "so it is"))

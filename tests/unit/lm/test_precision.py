"""Bfloat16 is taken only where it is asked for or pays."""

import pytest
import torch

from ribolex.lm.precision import choose_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_tile": True}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_follows_the_cpu(
    monkeypatch: pytest.MonkeyPatch, units: dict[str, bool], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units, raising=False)
    assert choose_dtype("auto", CPU) == expected


def test_auto_is_float32_where_torch_does_not_know_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_dtype("auto", CPU) == torch.float32


def test_what_is_asked_for_is_taken() -> None:
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16
    assert choose_dtype("float32", CPU) == torch.float32

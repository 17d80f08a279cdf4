"""Files of sparsify, InterPLM and InterProt, and files that mean harm."""

import contextlib
import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from tests.unit.trainer.test_interchange import (
    D_IN,
    N_FEATURES,
    N_TOKENS,
    Change,
    dense,
    saelens_parts,
    set_config,
    set_tensor,
    write_saelens,
)
from torch import Tensor

from ribolex.errors import CorruptInputError, InvalidRequestError
from ribolex.trainer.interchange import Reading, compare, read_source

LISTENED: list[str] = []


class Hostile:
    """Runs code in whoever unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return LISTENED.append, ("run",)


def sparsify_parts() -> tuple[dict[str, Any], dict[str, Tensor]]:
    g = torch.Generator().manual_seed(6)
    config = {"activation": "topk", "k": 4, "num_latents": 0, "d_in": D_IN}
    tensors = {
        "encoder.weight": torch.randn(N_FEATURES, D_IN, generator=g),
        "encoder.bias": torch.randn(N_FEATURES, generator=g),
        "W_dec": torch.randn(N_FEATURES, D_IN, generator=g),
        "b_dec": torch.randn(D_IN, generator=g),
    }
    return {**config, "expansion_factor": N_FEATURES // D_IN}, tensors


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("one feature of each group", set_config("activation", "groupmax")),
        ("skip_connection is true", set_config("skip_connection", True)),
        ("skip_connection is true", set_tensor("W_skip", torch.ones(D_IN, D_IN))),
        ("k is 25, expected at most 24", set_config("k", N_FEATURES + 1)),
        ("transcode is 'yes'", set_config("transcode", "yes")),
        # As SAELens' own converter turns it.
        ("it is transposed", set_tensor("W_dec", torch.ones(D_IN, N_FEATURES))),
        ("W_dec is missing", lambda config, tensors: tensors.pop("W_dec")),
        ("encoder.weight is .* expected", set_config("expansion_factor", 4)),
    ],
)
def test_sparsify_folders_that_are_refused(
    message: str, change: Change, tmp_path: Path
) -> None:
    config, tensors = sparsify_parts()
    change(config, tensors)
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    (tmp_path / "sae.safetensors").write_bytes(save(tensors))
    with pytest.raises(CorruptInputError, match=message):
        read_source(tmp_path, None, Reading())


def relu_state() -> dict[str, Any]:
    g = torch.Generator().manual_seed(8)
    return {
        "encoder.weight": torch.randn(N_FEATURES, D_IN, generator=g),
        "encoder.bias": torch.randn(N_FEATURES, generator=g),
        "decoder.weight": torch.randn(D_IN, N_FEATURES, generator=g),
        "bias": torch.randn(D_IN, generator=g),
        "activation_rescale_factor": torch.rand(N_FEATURES, generator=g) + 0.1,
        "normalize_to_sqrt_d": torch.tensor(False),
    }


def topk_state(threshold: float) -> dict[str, Any]:
    state = relu_state()
    state["b_dec"] = state.pop("bias")
    return state | {"k": torch.tensor(4), "threshold": torch.tensor(threshold)}


def put(folder: Path, state: object) -> Path:
    torch.save(state, folder / "ae.pt")
    return folder


def test_interplm_codes_can_be_divided_by_their_largest(tmp_path: Path) -> None:
    state = relu_state()
    put(tmp_path, state)
    x = torch.randn(N_TOKENS, D_IN)
    plain = read_source(tmp_path, None, Reading())
    divided = read_source(tmp_path / "ae.pt", None, Reading(rescaled=True))
    for source in (plain, divided):
        assert compare(source, x).is_exact
    factor = state["activation_rescale_factor"]
    torch.testing.assert_close(dense(divided.sae, x), dense(plain.sae, x) / factor)
    state["activation_rescale_factor"][7] = 0
    put(tmp_path, state)
    with pytest.raises(CorruptInputError, match=r"factor\[7\] is 0"):
        read_source(tmp_path, None, Reading(rescaled=True))
    assert compare(read_source(tmp_path, None, Reading()), x).is_exact


def test_division_that_changes_the_k_largest_is_refused(tmp_path: Path) -> None:
    put(tmp_path, topk_state(-1.0))
    with pytest.raises(InvalidRequestError, match="k largest would be others"):
        read_source(tmp_path, None, Reading(choice="topk", rescaled=True))


def test_topk_and_batchtopk_must_be_told_apart(tmp_path: Path) -> None:
    put(tmp_path, topk_state(0.5))
    with pytest.raises(InvalidRequestError, match="saved alike"):
        read_source(tmp_path, None, Reading())
    x = torch.randn(N_TOKENS, D_IN)
    topk = read_source(tmp_path, None, Reading(choice="topk"))
    batchtopk = read_source(tmp_path, None, Reading(choice="batchtopk"))
    assert (topk.is_topk, batchtopk.is_topk) == (True, False)
    assert compare(topk, x).is_exact
    assert compare(batchtopk, x).is_exact
    put(tmp_path, topk_state(-1.0))
    with pytest.raises(CorruptInputError, match="none was set in training"):
        read_source(tmp_path, None, Reading(choice="batchtopk"))


def test_interprot_needs_a_word_on_its_norm_and_its_k(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(9)
    state = {
        "w_enc": torch.randn(D_IN, N_FEATURES, generator=g),
        "w_dec": torch.randn(N_FEATURES, D_IN, generator=g),
        "b_enc": torch.randn(N_FEATURES, generator=g),
        "b_pre": torch.randn(D_IN, generator=g),
        "stats_last_nonzero": torch.zeros(N_FEATURES, dtype=torch.long),
    }
    put(tmp_path, {"state_dict": state})
    with pytest.raises(CorruptInputError, match="--no-input-norm"):
        read_source(tmp_path, None, Reading(k=3))
    with pytest.raises(InvalidRequestError, match="does not tell its k"):
        read_source(tmp_path, None, Reading(no_input_norm=True))
    source = read_source(tmp_path, None, Reading(k=3, no_input_norm=True))
    assert compare(source, torch.randn(N_TOKENS, D_IN)).is_exact


def test_a_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    for content in (Hostile(), {"bias": Hostile()}):
        (tmp_path / "ae.pt").write_bytes(pickle.dumps(content, protocol=2))
        with pytest.raises(CorruptInputError, match="weights"):
            read_source(tmp_path, None, Reading())
    put(tmp_path, relu_state() | {"bias": Hostile()})
    with pytest.raises(CorruptInputError, match="weights"):
        read_source(tmp_path, None, Reading())
    assert LISTENED == []


@settings(max_examples=60, deadline=None)
@given(data=st.data(), is_zip=st.booleans())
def test_damaged_files_are_refused_or_read(
    data: st.DataObject, is_zip: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("damaged") / "ae.pt"
    torch.save(relu_state(), file, _use_new_zipfile_serialization=is_zip)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # The first bytes of a pickle say most.
        at = data.draw(st.integers(0, min(len(content), 700) - 1))
        content[at] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with warnings.catch_warnings(), contextlib.suppress(CorruptInputError):
        warnings.simplefilter("ignore")
        read_source(file, None, Reading())
    assert LISTENED == []


def wrong(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.__setitem__(name, value)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("scaled by its own length", wrong("normalize_to_sqrt_d", torch.tensor(True))),
        (r"bias is \[9\], expected \[8\]", wrong("bias", torch.ones(D_IN + 1))),
        ("holds NaN or infinity", wrong("bias", torch.full((D_IN,), torch.inf))),
        ("bias is list, expected a tensor", wrong("bias", [1.0])),
        ("more numbers than", wrong("bias", torch.ones(1).expand(D_IN))),
        ("transposed", wrong("decoder.weight", torch.ones(N_FEATURES, D_IN))),
        ("expected", lambda state: state.pop("encoder.bias")),
        ("W_skip", wrong("W_skip", torch.ones(3))),
        ("expected one count", wrong("normalize_to_sqrt_d", torch.ones(4))),
    ],
)
def test_interplm_files_that_are_refused(
    message: str, change: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    state = relu_state()
    change(state)
    put(tmp_path, state)
    with pytest.raises(CorruptInputError, match=message):
        read_source(tmp_path, None, Reading())


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x02", b"PK\x03\x04"])
@pytest.mark.parametrize("name", ["ae.pt", "sae_weights.safetensors", "cfg.json"])
def test_files_that_are_no_weights_are_refused(
    name: str, content: bytes, tmp_path: Path
) -> None:
    config, tensors = saelens_parts()
    folder = write_saelens(tmp_path / "in", config, tensors)
    if name == "ae.pt":
        folder = tmp_path
    (folder / name).write_bytes(content)
    with pytest.raises(CorruptInputError):
        read_source(folder, None, Reading())


def test_a_path_of_no_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptInputError, match="holds none of"):
        read_source(tmp_path, None, Reading())
    with pytest.raises(CorruptInputError, match="no such"):
        read_source(tmp_path / "nowhere", None, Reading())
    np.save(tmp_path / "x.npy", np.ones(3))
    with pytest.raises(CorruptInputError):
        read_source(tmp_path / "x.npy", None, Reading())

"""Reading weights: what is refused and named, what is read all the same."""

import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ribolex.errors import CorruptInputError
from ribolex.lm import LmConfig, RiNALMo, load_network, save_network
from ribolex.lm.weights import digest_network, read_name, read_weights

GOLDEN = Path(__file__).parents[2] / "golden" / "rinalmo"
OFFICIAL = GOLDEN / "rinalmo_official_layout.pt"
MULTIMOLECULE = GOLDEN / "multimolecule_layout"
QKV = "transformer.blocks.0.mh_attn.Wqkv.weight"


@pytest.fixture
def state() -> dict[str, Any]:
    """Gives the golden weights in the reference layout, to be spoilt."""
    loaded: dict[str, Any] = torch.load(OFFICIAL, weights_only=True)
    return loaded


@pytest.fixture(scope="module")
def digest() -> str:
    return digest_network(load_network(OFFICIAL))


def test_both_layouts_have_one_digest_and_are_told_apart(digest: str) -> None:
    official, other = read_weights(OFFICIAL), read_weights(MULTIMOLECULE)
    assert (official.layout, other.layout) == ("reference", "multimolecule")
    assert digest_network(official.network) == digest_network(other.network) == digest


class _Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {self.sign}",)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_never_run(
    tmp_path: Path, state: dict[str, Any], how: str
) -> None:
    sign, file = tmp_path / "executed", tmp_path / "evil.pt"
    state["zzz"] = _Trap(sign)
    if how == "torch":
        torch.save(state, file)
    else:
        file.write_bytes(pickle.dumps(state, protocol=2))
    with pytest.raises(CorruptInputError, match=r"evil\.pt: is not readable"):
        load_network(file)
    assert not sign.exists()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (QKV, torch.zeros(240, 80, dtype=torch.int8), f"{QKV} is int8, expected float"),
        (QKV, torch.full((240, 80), torch.nan), f"{QKV} holds NaN or infinity"),
        (QKV, torch.full((240, 80), 1e6).half(), f"{QKV} holds NaN or infinity"),
        (QKV, torch.zeros(80, 240), f"{QKV} is [80, 240], expected [240, 80]"),
        (QKV, torch.zeros(()), f"{QKV} is [], expected [240, 80]"),
        ("epoch", 7, "epoch is no tensor but int"),
        (
            "transformer.blocks.1.transition.0.linear_gate.weight",
            torch.zeros(212, 80),
            "transition.0.linear_gate.weight is [212, 80], expected [213, 80]",
        ),
    ],
)
def test_a_broken_tensor_is_named(
    tmp_path: Path, state: dict[str, Any], name: str, value: object, told: str
) -> None:
    torch.save({**state, name: value}, tmp_path / "broken.pt")
    with pytest.raises(CorruptInputError) as caught:
        load_network(tmp_path / "broken.pt")
    assert told in str(caught.value)


def test_a_missing_half_of_a_fused_tensor_is_named(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    del state["transformer.blocks.2.transition.0.linear_gate.bias"]
    torch.save(state, tmp_path / "broken.pt")
    with pytest.raises(CorruptInputError, match=r"missing .*blocks\.2\..*gate\.bias"):
        load_network(tmp_path / "broken.pt")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("model.encoder.layer.1.attention.self.key.weight", "missing model.encoder"),
        ("lm_head.decoder.weight", "missing lm_head.decoder.weight"),
        ("model.embeddings.word_embeddings.weight", "holds no RiNALMo weights"),
    ],
)
def test_a_tensor_that_multimolecule_lacks_is_named(
    tmp_path: Path, name: str, told: str
) -> None:
    tensors = load_file(MULTIMOLECULE / "model.safetensors")
    del tensors[name]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CorruptInputError, match=told):
        load_network(tmp_path)


def test_a_layer_that_multimolecule_has_in_excess_is_named(tmp_path: Path) -> None:
    tensors = load_file(MULTIMOLECULE / "model.safetensors")
    tensors["model.encoder.layer.0.stray"] = torch.zeros(1)
    tensors["ss_head.weight"] = torch.zeros(1)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CorruptInputError) as caught:
        load_network(tmp_path)
    assert "unexpected model.encoder.layer.0.stray" in str(caught.value)
    assert "ss_head" not in str(caught.value)


def test_heads_for_other_tasks_of_multimolecule_are_passed_over(
    tmp_path: Path, digest: str
) -> None:
    tensors = load_file(MULTIMOLECULE / "model.safetensors")
    extra = {"ss_head.weight": torch.zeros(1), "model.pooler.bias": torch.zeros(1)}
    save_file({**tensors, **extra}, tmp_path / "model.safetensors")
    assert digest_network(load_network(tmp_path)) == digest


@pytest.mark.parametrize("prefix", ["", "model.", "module.lm."])
@pytest.mark.parametrize("nest", ["", "state_dict", "model"])
def test_weights_inside_a_training_checkpoint_are_read(
    tmp_path: Path, state: dict[str, Any], digest: str, prefix: str, nest: str
) -> None:
    tensors: dict[str, Any] = {prefix + name: x for name, x in state.items()}
    saved = {"epoch": 3, nest: tensors} if nest else tensors
    torch.save(saved, tmp_path / "run.ckpt")
    assert digest_network(load_network(tmp_path / "run.ckpt")) == digest


def test_two_sets_of_weights_in_one_checkpoint_are_refused(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    torch.save({"state_dict": state, "model": state}, tmp_path / "run.ckpt")
    with pytest.raises(CorruptInputError, match="more than one set of weights"):
        load_network(tmp_path / "run.ckpt")


def test_what_lies_beside_a_prefix_is_unexpected(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    tensors: dict[str, Tensor] = {f"lm.{name}": x for name, x in state.items()}
    tensors["pred_head.weight"] = torch.zeros(1)
    torch.save(tensors, tmp_path / "tuned.pt")
    with pytest.raises(CorruptInputError, match=r"unexpected pred_head\.weight"):
        load_network(tmp_path / "tuned.pt")


def test_a_folder_may_hold_one_pt_and_not_two(
    tmp_path: Path, state: dict[str, Any], digest: str
) -> None:
    with pytest.raises(CorruptInputError, match=r"expected model\.safetensors or one"):
        load_network(tmp_path)
    torch.save(state, tmp_path / "a.pt")
    assert digest_network(load_network(tmp_path)) == digest
    torch.save(state, tmp_path / "b.pt")
    with pytest.raises(CorruptInputError, match=r"found a\.pt, b\.pt"):
        load_network(tmp_path)


def test_the_model_does_not_hang_on_its_file(tmp_path: Path) -> None:
    network = RiNALMo(LmConfig.of_width(40, 2, 4))
    save_network(network, tmp_path, name="x", dtype=torch.float32)
    loaded, file = load_network(tmp_path), tmp_path / "model.safetensors"
    file.write_bytes(bytes(file.stat().st_size))
    assert digest_network(loaded) == digest_network(network)


def test_a_loaded_network_can_be_trained(tmp_path: Path) -> None:
    network = load_network(OFFICIAL)
    network(torch.tensor([[0, 5, 6, 7, 2]])).sum().backward()
    assert all(x.requires_grad and not x.is_meta for x in network.parameters())


def test_saved_files_are_as_readable_as_any_and_nothing_is_left(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    folder = tmp_path / "saved"
    network = RiNALMo(LmConfig.of_width(40, 1, 4))
    for _ in range(2):
        save_network(network, folder, name="x", dtype=torch.float16)
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["config.json", "model.safetensors"]
    modes = {stat.S_IMODE(file.stat().st_mode) for file in [*files, plain]}
    assert len(modes) == 1
    assert read_name(folder) == "x"

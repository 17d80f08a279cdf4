"""Dictionaries of other tools: there and back, and SAELens folders."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from ribolex.dictionary import (
    Codes,
    FeatureTable,
    Identity,
    Moments,
    Panel,
    Sae,
    Standardisation,
    Target,
    write_dictionary,
)
from ribolex.errors import CorruptInputError, InvalidRequestError
from ribolex.trainer.interchange import (
    Reading,
    Source,
    compare,
    export_dictionary,
    read_source,
)

D_IN, N_FEATURES, N_TOKENS = 8, 24, 96

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def draw(seed: int, kind: str) -> tuple[Sae, Tensor]:
    """Gives random weights of a kind with a standardisation folded in, and rows."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    moments = Moments(normal(D_IN) * 3, torch.rand(D_IN, generator=g) * 4 + 0.05)
    threshold = None
    if kind != "topk":
        threshold = torch.rand(N_FEATURES, generator=g) * 2
        threshold = threshold * 0 if kind == "relu" else threshold
    k = 5 if kind == "topk" else N_FEATURES
    scale = 10 ** float(torch.empty(1).uniform_(-2, 2, generator=g))
    sae = Sae(
        normal(D_IN, N_FEATURES) * scale,
        normal(N_FEATURES) * scale,
        normal(N_FEATURES, D_IN) / scale,
        normal(D_IN),
        k,
        None if threshold is None else threshold * scale,
    ).fold(moments)
    return sae, normal(N_TOKENS, D_IN) * moments.sigma + moments.mean


def dense(sae: Sae, x: Tensor) -> Tensor:
    codes = sae.encode(x)
    return torch.zeros(len(x), sae.n_features).scatter_(1, codes.indices, codes.values)


def write(path: Path, sae: Sae, x: Tensor, target: Target | None = None) -> Path:
    """Writes a dictionary of these weights whose panel are these rows."""
    codes = sae.encode(x)
    flat = Standardisation(tuple(x.mean(0).tolist()), tuple(x.std(0).tolist()))
    identity = Identity(
        "none", "0" * 64, 1, "normed", "nucleotide", "transcoder" if target else "sae",
        sae.architecture, sae.k, D_IN, N_FEATURES, flat, "", 0, "CC0-1.0",
        target=target,
    )  # fmt: skip
    lists = codes.indices.numpy(), codes.values.numpy(), N_FEATURES
    write_dictionary(
        path,
        name="drawn",
        identity=identity,
        sae=sae,
        features=FeatureTable.blank(N_FEATURES),
        panel=Panel(("drawn",), ("A" * len(x),), Codes.from_topk(*lists)),
    )
    return path


def flat_target() -> Target:
    flat = Standardisation((0.0,) * D_IN, (1.0,) * D_IN)
    return Target(2, False, flat)


def check_same(source: Source, sae: Sae, x: Tensor) -> None:
    assert compare(source, x).is_exact
    agreement = compare(replace(source, sae=sae), x)
    assert agreement.is_exact, agreement
    scale = float(dense(sae, x).max())
    torch.testing.assert_close(
        dense(source.sae, x), dense(sae, x), rtol=1e-3, atol=1e-4 * scale
    )


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["topk", "jumprelu", "relu"])
)
@pytest.mark.parametrize("form", ["saelens", "sparsify", "interplm"])
def test_what_is_exported_comes_back(
    form: str,
    seed: int,
    kind: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("case")
    sae, x = draw(seed, kind)
    folder = write(home / "own", sae, x)
    if form == "sparsify" and kind != "topk":
        with pytest.raises(InvalidRequestError, match="no thresholds; take saelens"):
            export_dictionary(folder, home / "out", form)
        assert sorted(home.iterdir()) == [folder]
        return
    export_dictionary(folder, home / "out", form)
    check_same(read_source(home / "out", None, Reading()), sae, x)


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
@pytest.mark.parametrize("form", ["saelens", "sparsify", "interplm"])
def test_transcoders_come_back_where_the_format_has_them(
    form: str, kind: str, tmp_path: Path
) -> None:
    sae, x = draw(3, kind)
    folder = write(tmp_path / "own", sae, x, flat_target())
    if form == "interplm" or (form, kind) == ("sparsify", "jumprelu"):
        with pytest.raises(InvalidRequestError, match="take saelens"):
            export_dictionary(folder, tmp_path / "out", form)
        return
    export_dictionary(folder, tmp_path / "out", form)
    source = read_source(tmp_path / "out", None, Reading())
    # SAELens knows no TopK transcoder, and its file does not say that it is one.
    assert source.is_transcoder == ((form, kind) != ("saelens", "topk"))
    check_same(source, sae, x)


def test_export_writes_over_nothing(tmp_path: Path) -> None:
    sae, x = draw(0, "topk")
    folder = write(tmp_path / "own", sae, x)
    with pytest.raises(InvalidRequestError, match="exists already"):
        export_dictionary(folder, folder, "saelens")


def saelens_parts(architecture: str = "jumprelu") -> tuple[dict[str, Any], Any]:
    g = torch.Generator().manual_seed(5)
    names = {"jumprelu": ["b_enc", "threshold"], "gated": ["b_gate", "b_mag", "r_mag"]}
    tensors = {
        "W_enc": torch.randn(D_IN, N_FEATURES, generator=g),
        "W_dec": torch.randn(N_FEATURES, D_IN, generator=g),
        "b_dec": torch.randn(D_IN, generator=g),
    }
    for name in names.get(architecture, ["b_enc"]):
        tensors[name] = torch.rand(N_FEATURES, generator=g)
    config = {
        "architecture": architecture,
        "d_in": D_IN,
        "d_sae": N_FEATURES,
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "hook_name": "blocks.3"},
    }
    if architecture == "topk":
        config["k"] = 4
    return config, tensors


def write_saelens(folder: Path, config: Any, tensors: dict[str, Tensor]) -> Path:
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps(config))
    (folder / "sae_weights.safetensors").write_bytes(save(tensors))
    return folder


@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu", "gated"])
@pytest.mark.parametrize("scale", [0.02, 7.5])
def test_scaled_activations_are_folded(
    architecture: str, scale: float, tmp_path: Path
) -> None:
    config, tensors = saelens_parts(architecture)
    config["normalize_activations"] = "expected_average_only_in"
    folder = write_saelens(tmp_path / "in", config, tensors)
    with pytest.raises(CorruptInputError, match="--activation-scale"):
        read_source(folder, None, Reading())
    x = torch.randn(N_TOKENS, D_IN, generator=torch.Generator().manual_seed(1)) / scale
    source = read_source(folder, None, Reading(activation_scale=scale))
    assert compare(source, x).is_exact
    # As the factor lies beside a checkpoint.
    text = json.dumps({"scaling_factor": scale, "has_whitening": False})
    (folder / "activation_scaler.json").write_text(text)
    beside = read_source(folder, None, Reading())
    assert torch.equal(beside.sae.W_enc, source.sae.W_enc)
    # A reader that left the factor out would not be taken for the same.
    (folder / "activation_scaler.json").unlink()
    config["normalize_activations"] = "none"
    (folder / "cfg.json").write_text(json.dumps(config))
    plain = read_source(folder, None, Reading())
    assert not compare(replace(source, sae=plain.sae), x).is_exact


def test_standardised_activations_are_folded(tmp_path: Path) -> None:
    source = read_source(
        write_saelens(tmp_path / "in", *saelens_parts()), None, Reading()
    )
    x = torch.randn(N_TOKENS, D_IN) * 5 + 40
    moments = Moments(x.mean(0), x.std(0))
    standardised = source.standardised(moments)
    assert compare(standardised, x).is_exact
    assert not compare(replace(standardised, sae=source.sae), x).is_exact


def test_a_forgotten_threshold_is_noticed(tmp_path: Path) -> None:
    source = read_source(
        write_saelens(tmp_path / "in", *saelens_parts()), None, Reading()
    )
    floor = source.sae.threshold
    assert floor is not None
    without = replace(source.sae, threshold=torch.zeros_like(floor))
    x = torch.randn(N_TOKENS, D_IN)
    assert not compare(replace(source, sae=without), x).is_exact


def test_configurations_from_before_version_6(tmp_path: Path) -> None:
    config, tensors = saelens_parts("standard")
    old = {
        "d_in": D_IN,
        "d_sae": N_FEATURES,
        "hook_point": "blocks.3.hook_resid_post",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 3},
        "normalize_activations": None,
    }
    tensors["scaling_factor"] = torch.ones(N_FEATURES)
    source = read_source(write_saelens(tmp_path / "in", old, tensors), None, Reading())
    assert (source.tool, source.sae.k) == ("SAELens topk", 3)
    assert source.place == "blocks.3.hook_resid_post"
    # b_dec is taken from the input by default, as it was then.
    assert compare(source, torch.randn(N_TOKENS, D_IN)).is_exact
    assert not torch.equal(source.sae.b_enc, tensors["b_enc"])


def set_config(name: str, value: Any) -> Change:
    return lambda config, tensors: config.__setitem__(name, value)


def set_tensor(name: str, value: Tensor) -> Change:
    return lambda config, tensors: tensors.__setitem__(name, value)


def nan_in(name: str) -> Change:
    return lambda config, tensors: tensors[name].view(-1)[:1].fill_(torch.nan)


SAELENS_FAULTS: list[tuple[str, Change]] = [
    (
        "which no weights can stand for",
        set_config("normalize_activations", "layer_norm"),
    ),
    (
        "scales each nucleotide by its own length",
        set_config("normalize_activations", "constant_norm_rescale"),
    ),
    ("not known", set_config("normalize_activations", "covariance_whitening")),
    ("no part of any feature", set_config("architecture", "skip_transcoder")),
    ("negative too", set_config("architecture", "abstopk")),
    ("training checkpoint", set_config("architecture", "batchtopk")),
    ("expected one of", set_config("architecture", "temporal")),
    ("expected 'relu' or 'topk'", set_config("activation_fn", "tanh-relu")),
    ("attention heads", set_config("reshape_activations", "hook_z")),
    ("d_in is -3, expected a whole number", set_config("d_in", -3)),
    ("d_sae is True", set_config("d_sae", True)),
    ("d_sae is '24'", set_config("d_sae", "24")),
    (r"W_enc is \[8, 24\], expected \[8, 25\]", set_config("d_sae", 25)),
    ("W_dec is .* it is transposed", set_tensor("W_dec", torch.ones(D_IN, N_FEATURES))),
    ("W_enc holds NaN", nan_in("W_enc")),
    ("threshold holds NaN", nan_in("threshold")),
    ("b_dec is int64", set_tensor("b_dec", torch.ones(D_IN, dtype=torch.int64))),
    ("threshold is missing", lambda config, tensors: tensors.pop("threshold")),
    ("holds W_skip, expected only", set_tensor("W_skip", torch.ones(D_IN, D_IN))),
    ("not all ones", set_tensor("scaling_factor", torch.full((N_FEATURES,), 2.0))),
]


@pytest.mark.parametrize(("message", "change"), SAELENS_FAULTS)
def test_saelens_folders_that_are_refused(
    message: str, change: Change, tmp_path: Path
) -> None:
    config, tensors = saelens_parts()
    change(config, tensors)
    folder = write_saelens(tmp_path / "in", config, tensors)
    with pytest.raises(CorruptInputError, match=message) as caught:
        read_source(folder, None, Reading())
    assert caught.value.where.startswith(str(folder))


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (0, "above 0"),
        (N_FEATURES + 1, "at most"),
        (10**30, "at most"),
        (2.5, "expected int"),
        (None, "above 0"),
    ],
)
def test_absurd_k_is_refused(k: Any, message: str, tmp_path: Path) -> None:
    config, tensors = saelens_parts("topk")
    config["k"] = k
    folder = write_saelens(tmp_path / "in", config, tensors)
    with pytest.raises(CorruptInputError, match=message):
        read_source(folder, None, Reading())

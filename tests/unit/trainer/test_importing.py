"""`ribolex dictionaries import` and `export`, from weights to a served dictionary."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import save, save_file
from tests.unit.trainer.conftest import DrawRnas
from typer.testing import CliRunner, Result

from ribolex.dictionary import Dictionary, load_dictionary
from ribolex.errors import CorruptInputError, DictionaryExistsError, InvalidRequestError
from ribolex.lm import Hook, LanguageModel
from ribolex.registry import FolderRegistry
from ribolex.rna.tables import write_rnas
from ribolex.trainer.cli import register
from ribolex.trainer.interchange import ImportPlan, Reading, read_source
from ribolex.trainer.interchange.data import Place, sample_random
from ribolex.trainer.interchange.importing import import_dictionary

N_FEATURES, K = 96, 6
PLACES: tuple[tuple[int, Hook], ...] = ((2, "raw"), (1, "normed"))


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def run(*arguments: object) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, ["dictionaries", *map(str, arguments)])


def import_at(model: Path, *arguments: object) -> Result:
    return run("import", *arguments, "--model", model, "--layer", 1)


def error_of(done: Result) -> str:
    """Gives the message of the error that a command ended with."""
    assert done.exception is not None, done.output
    return str(done.exception) + done.output


@pytest.fixture
def relu(tmp_path: Path, lm: LanguageModel) -> Path:
    """Gives an ae.pt with an orthonormal ReLU autoencoder that rebuilds layer 1."""
    width = lm.config.d_model
    basis = torch.linalg.qr(torch.randn(width, width))[0]
    rows = torch.cat([basis, -basis, torch.randn(N_FEATURES - 2 * width, width) * 0])
    state = {
        "encoder.weight": rows,
        "encoder.bias": torch.full((N_FEATURES,), -0.01),
        "decoder.weight": rows.T.contiguous(),
        "bias": torch.randn(width) * 0.1,
    }
    folder = tmp_path / "relu"
    folder.mkdir()
    torch.save(state, folder / "ae.pt")
    return folder


@pytest.fixture
def table(tmp_path: Path, draw_rnas: DrawRnas) -> Path:
    file = tmp_path / "rnas.tsv.gz"
    write_rnas(file, draw_rnas(80))
    return file


def test_an_imported_dictionary_is_described_published_and_opened(
    relu: Path, table: Path, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    done = import_at(tiny_model, relu, out, "--rnas", table, "--licence", "MIT")
    assert done.exit_code == 0, done.output
    # Of a basis and its negative half fires, always: 32 of 96.
    warnings = [line for line in done.output.splitlines() if "warning" in line]
    assert ["a threshold left out" in line for line in warnings] == [True]
    found = load_dictionary(out)
    identity = found.identity
    assert (found.name, identity.licence, identity.kind) == ("mine", "MIT", "sae")
    assert (identity.lm_name, identity.layer, identity.hook) == ("tiny", 1, "normed")
    assert identity.metrics["fvu"] < 0.01
    assert 32 / 96 - 1e-6 < identity.metrics["dead_fraction"] < 0.5
    assert 16 <= found.sae.k <= 64
    assert float(found.features.density.max()) > 0.3
    assert any(found.features.examples_of(0))
    assert f"on {80 * 20:,} nucleotides" in done.output
    registry = FolderRegistry(tmp_path / "registry")
    assert registry.publish(out) == "mine@1"
    assert registry.get("mine@1").sae.threshold is not None
    card = (out / "README.md").read_text()
    assert "InterPLM relu" in card
    assert "SHA-256" in card
    assert import_at(tiny_model, relu, out).exception.__class__ is DictionaryExistsError


def test_a_limit_k_is_chosen_from_the_data(
    relu: Path, table: Path, tiny_model: Path, tmp_path: Path
) -> None:
    free = import_at(tiny_model, relu, tmp_path / "free")
    assert load_dictionary(tmp_path / "free").sae.k == N_FEATURES
    assert f"k is {N_FEATURES}, every feature" in free.output
    assert "random RNAs prove the algebra" in free.output
    limited = import_at(tiny_model, relu, tmp_path / "three", "--rnas", table, "--k", 3)
    assert load_dictionary(tmp_path / "three").sae.k == 3
    assert "k 3 takes away" in limited.output
    for absurd in (0, N_FEATURES + 1):
        failed = import_at(tiny_model, relu, tmp_path / "no", "--k", absurd)
        assert f"{absurd} is not in 1 to 96" in error_of(failed)
    assert not (tmp_path / "no").exists()


def test_activations_of_a_file_do_too(
    relu: Path, lm: LanguageModel, tiny_model: Path, tmp_path: Path
) -> None:
    x = sample_random(lm, Place(1), 3).x
    np.save(tmp_path / "x.npy", x.numpy())
    save_file({"x": x}, tmp_path / "x.safetensors")
    for name in ("x.npy", "x.safetensors"):
        out = tmp_path / f"of-{name}"
        done = import_at(tiny_model, relu, out, "--activations", tmp_path / name)
        assert done.exit_code == 0, done.output
        found = load_dictionary(out)
        assert found.sae.k < N_FEATURES
        assert found.identity.metrics["n_nucleotides"] == len(x)
        np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-4, atol=1e-5)
        assert found.features.idf.tolist() == [1.0] * N_FEATURES


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((4, 9), np.float32), r"\[4, 9\], expected \[rows, 32\]"),
        (np.ones((4, 32), np.int64), "no array of floating point"),
        (np.ones((1, 32), np.float32), "expected 2 or more"),
        (np.full((4, 32), np.nan, np.float32), "NaN or infinity"),
        (np.array([{}], object), "not readable as an array"),
    ],
)
def test_rows_that_are_none_are_refused(
    rows: np.ndarray, message: str, relu: Path, tiny_model: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", rows, allow_pickle=True)
    done = import_at(
        tiny_model, relu, tmp_path / "out", "--activations", tmp_path / "x.npy"
    )
    assert isinstance(done.exception, CorruptInputError)
    assert done.exception.where == str(tmp_path / "x.npy")
    with pytest.raises(CorruptInputError, match=message):
        raise done.exception
    assert not (tmp_path / "out").exists()


def test_the_better_layer_is_named(
    lm: LanguageModel,
    table: Path,
    draw_rnas: DrawRnas,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    sequences = [rna.sequence for rna in draw_rnas(80)]
    here, there = (
        torch.from_numpy(
            np.concatenate(
                [each[layer] for each in lm.activations(sequences, [layer], hook)]
            )
        )
        for layer, hook in PLACES
    )
    mean, gap = here.mean(0), there.mean(0) - here.mean(0)
    spread = torch.cat([here - mean, there - there.mean(0)]).T.cov()
    away = torch.linalg.solve(spread + 1e-3 * torch.eye(len(spread)), gap)
    # A basis that rebuilds anything, and a feature that fires far off and spoils it.
    basis = torch.linalg.qr(torch.randn(len(mean), len(mean)))[0]
    bias = torch.zeros(2 * len(mean) + 1)
    bias[-1] = -0.5 * float(gap @ away)
    state = {
        "encoder.weight": torch.cat([basis, -basis, away[None]]),
        "encoder.bias": bias,
        "decoder.weight": torch.cat([basis, -basis, 9 * basis[:1]]).T.contiguous(),
        "bias": mean,
    }
    torch.save(state, tmp_path / "ae.pt")
    done = import_at(tiny_model, tmp_path / "ae.pt", tmp_path / "o", "--rnas", table)
    assert "layer 2, hook raw, fits better" in done.output


def test_a_square_decoder_that_is_transposed_is_noticed(
    lm: LanguageModel, tiny_model: Path, tmp_path: Path
) -> None:
    width = lm.config.d_model
    basis = torch.linalg.qr(torch.randn(width, width))[0]
    far = torch.full((width,), -100.0)
    config = {"architecture": "standard", "d_in": width, "d_sae": width,
              "apply_b_dec_to_input": True,
              "metadata": {"sae_lens_version": "6.54.12"}}  # fmt: skip
    for name, decoder in (("right", basis.T), ("turned", basis)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "cfg.json").write_text(json.dumps(config))
        tensors = {
            "W_enc": basis.contiguous(),
            "b_enc": torch.zeros(width),
            "W_dec": decoder.contiguous(),
            "b_dec": basis @ far,
        }
        (folder / "sae_weights.safetensors").write_bytes(save(tensors))
    assert import_at(tiny_model, tmp_path / "right", tmp_path / "a").exit_code == 0
    done = import_at(tiny_model, tmp_path / "turned", tmp_path / "b")
    assert "the decoder is transposed" in error_of(done)


def test_weights_that_do_not_give_the_same_are_not_written(
    relu: Path, lm: LanguageModel, tmp_path: Path
) -> None:
    source = read_source(relu, None, Reading())
    off = replace(source, sae=replace(source.sae, b_enc=source.sae.b_enc + 0.01))
    sample = sample_random(lm, Place(1), 0)
    with pytest.raises(CorruptInputError, match="do not give what its own code gives"):
        import_dictionary(
            off, sample, lm, ImportPlan("off", Place(1)), tmp_path / "off"
        )
    assert not (tmp_path / "off").exists()


def test_broken_figures_are_warned_of(
    relu: Path, table: Path, tiny_model: Path, tmp_path: Path
) -> None:
    state = torch.load(relu / "ae.pt")
    state["decoder.weight"] = state["decoder.weight"] * -3
    torch.save(state, relu / "ae.pt")
    done = import_at(tiny_model, relu, tmp_path / "out", "--rnas", table)
    assert "worse than no dictionary at all" in done.output
    assert "of 96 features fire on a nucleotide" in done.output
    state["encoder.bias"] = state["encoder.bias"] - 100
    torch.save(state, relu / "ae.pt")
    done = import_at(tiny_model, relu, tmp_path / "none", "--rnas", table)
    assert "no feature fires on the RNAs" in error_of(done)


def test_another_width_than_the_model_is_refused(
    tiny_model: Path, tmp_path: Path
) -> None:
    golden = Path(__file__).parents[2] / "golden" / "sparsify" / "layers.3"
    done = import_at(tiny_model, golden, tmp_path / "out")
    assert "expected 32, the width of tiny" in error_of(done)


def test_transcoders_need_a_target_and_others_have_none(
    relu: Path, lm: LanguageModel, tiny_model: Path, table: Path, tmp_path: Path
) -> None:
    done = import_at(tiny_model, relu, tmp_path / "a", "--target-layer", 2)
    assert "is no transcoder" in error_of(done)
    width = lm.config.d_model
    g = torch.Generator().manual_seed(2)
    tensors = {
        "encoder.weight": torch.randn(N_FEATURES, width, generator=g),
        "encoder.bias": torch.zeros(N_FEATURES),
        "W_dec": torch.randn(N_FEATURES, width, generator=g) * 0.01,
        "b_dec": torch.zeros(width),
    }
    source = tmp_path / "sparsify"
    source.mkdir()
    config = {"activation": "topk", "k": K, "num_latents": N_FEATURES, "d_in": width}
    (source / "cfg.json").write_text(json.dumps(config | {"transcode": True}))
    (source / "sae.safetensors").write_bytes(save(tensors))
    assert "say which layer" in error_of(import_at(tiny_model, source, tmp_path / "b"))
    done = import_at(
        tiny_model, source, tmp_path / "c", "--target-layer", 2, "--rnas", table
    )
    assert done.exit_code == 0, done.output
    found = load_dictionary(tmp_path / "c")
    target = found.identity.target
    assert target is not None
    assert (target.layer, target.is_difference) == (2, False)
    assert (found.identity.kind, found.sae.k) == ("transcoder", K)
    assert read_back(found, tmp_path / "c", tmp_path / "d") == K


def read_back(found: Dictionary, folder: Path, out: Path) -> int:
    """Gives the k of a dictionary that went out as sparsify's."""
    done = run("export", folder, out, "--format", "sparsify")
    assert done.exit_code == 0, done.output
    assert found.name in done.output
    source = read_source(out, None, Reading())
    torch.testing.assert_close(source.sae.W_enc, found.sae.W_enc)
    return source.sae.k


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rnas", "a", "--activations", "b"], "not both"),
        (["--means", "a"], "go together"),
        (["--difference"], "goes with --target-layer"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], message: str, relu: Path, tiny_model: Path, tmp_path: Path
) -> None:
    done = import_at(tiny_model, relu, tmp_path / "out", *options)
    assert done.exit_code == 2
    assert message in done.output


def test_standardisation_of_files_is_folded(
    relu: Path, table: Path, tiny_model: Path, lm: LanguageModel, tmp_path: Path
) -> None:
    width = lm.config.d_model
    np.save(tmp_path / "means.npy", np.linspace(-1, 1, width))
    save_file({"s": torch.linspace(0.5, 2, width)}, tmp_path / "stds.safetensors")
    options = ["--means", tmp_path / "means.npy", "--stds"]
    done = import_at(
        tiny_model, relu, tmp_path / "out", "--rnas", table,
        *options, tmp_path / "stds.safetensors",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "standardisation folded in" in done.output
    # It rebuilds what it is given, whatever the scale.
    assert load_dictionary(tmp_path / "out").identity.metrics["fvu"] < 0.01
    np.save(tmp_path / "zero.npy", np.zeros(width))
    done = import_at(tiny_model, relu, tmp_path / "no", *options, tmp_path / "zero.npy")
    assert "not above 0" in error_of(done)


def test_a_name_that_no_registry_takes_is_refused(
    relu: Path, tiny_model: Path, tmp_path: Path
) -> None:
    for name in ("two words", "mine@3"):
        done = import_at(tiny_model, relu, tmp_path / "out", "--name", name)
        assert isinstance(done.exception, InvalidRequestError)
    assert not (tmp_path / "out").exists()

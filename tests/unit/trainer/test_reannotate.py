"""A published dictionary is described anew as its own next version."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from ribolex.dictionary import Dictionary
from ribolex.errors import IncompatibleDictionaryError, InvalidRequestError
from ribolex.lm import LanguageModel
from ribolex.registry import FolderRegistry
from ribolex.rna import Rna, write_rnas
from ribolex.trainer.annotation.report import with_section
from ribolex.trainer.cli import register
from ribolex.trainer.reannotate import Reannotation, reannotate

DrawRnas = Callable[..., list[Rna]]
CARD = "# a card\n\n## What features mean\n\nold words\n\n## More\n\nstays\n"


@pytest.fixture
def dictionary(tiny_registry: Path) -> Dictionary:
    found = FolderRegistry(tiny_registry).get("tiny@1")
    return replace(found, extras={"README.md": CARD.encode()})


@pytest.fixture
def plan(tmp_path: Path, draw_rnas: DrawRnas) -> Reannotation:
    write_rnas(tmp_path / "rnas.tsv.gz", draw_rnas(120))
    return Reannotation([tmp_path / "rnas.tsv.gz"], control_rows=2048, n_shuffled=500)


def note(_step: str, _done: int, _total: int) -> None:
    pass


def test_the_new_version_is_the_old_one_with_new_evidence(
    dictionary: Dictionary, lm: LanguageModel, plan: Reannotation, tmp_path: Path
) -> None:
    registry = FolderRegistry(tmp_path / "registry")
    published = reannotate(dictionary, lm, plan, registry, tmp_path / "work", note)
    assert published.ref == "tiny@1"
    found = registry.get("tiny")
    assert found.sae.W_dec.equal(dictionary.sae.W_dec)
    assert found.panel.sequences == dictionary.panel.sequences
    expected = replace(dictionary.identity, ancestor=dictionary.content_id)
    assert found.identity == expected
    features = found.features
    assert features.ancestor.tolist() == list(range(96))
    assert set(features.ancestor_confidence) == {1.0}
    np.testing.assert_array_equal(features.idf, dictionary.features.idf)
    assert features.profiles is not None
    fires = features.profiles.n_firings > 0
    assert fires.any()
    assert np.isfinite(features.profiles.shuffled_ratio[fires]).any()
    assert features.basis["RNAs"] == 120
    assert features.basis["structures given"] == 120
    assert "random directions" in str(features.basis["random control"])
    assert features.examples_of(int(np.flatnonzero(fires)[0]))[0].structure
    card = found.extras["README.md"].decode()
    assert "old words" not in card
    assert "| RNAs | 120 |" in card
    n_with = features.basis["features with nucleotide"]
    assert f"| nucleotide | {n_with} | " in card
    assert "The control: random directions" in card
    assert card.endswith("## More\n\nstays\n")
    assert with_section(card, features) == card
    # Again: the next version of the same name, found again by who follows it.
    again = reannotate(
        found, lm, replace(plan, seed=1, n_nucleotides=1000), registry, None, note
    )
    assert again.ref == "tiny@2"
    assert registry.current("tiny") == 2


def test_another_models_dictionary_is_refused(
    lm: LanguageModel, plan: Reannotation, tiny_registry: Path, tmp_path: Path
) -> None:
    other = FolderRegistry(tiny_registry).get("other@1")
    registry = FolderRegistry(tmp_path / "registry")
    with pytest.raises(IncompatibleDictionaryError):
        reannotate(other, lm, plan, registry, None, note)


def test_no_rna_is_refused(
    dictionary: Dictionary, lm: LanguageModel, tmp_path: Path
) -> None:
    write_rnas(tmp_path / "none.tsv.gz", [])
    plan = Reannotation([tmp_path / "none.tsv.gz"])
    registry = FolderRegistry(tmp_path / "registry")
    with pytest.raises(InvalidRequestError, match="no RNA"):
        reannotate(dictionary, lm, plan, registry, None, note)


def test_the_command_publishes_elsewhere(
    plan: Reannotation, tiny_registry: Path, tiny_model: Path, tmp_path: Path
) -> None:
    app = typer.Typer()
    register(app)
    done = CliRunner().invoke(
        app,
        [
            "annotate", "tiny@2", "--rnas", str(plan.rnas[0]), "--lm", str(tiny_model),
            "--registry", str(tiny_registry), "--to", str(tmp_path / "new"),
            "--control-rows", "0", "--shuffled", "0",
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == "tiny@1"
    found = FolderRegistry(tmp_path / "new").get("tiny")
    assert found.features.profiles is not None
    assert np.isnan(found.features.profiles.shuffled_ratio).all()
    assert FolderRegistry(tiny_registry).current("tiny") == 1


def test_a_language_model_needs_a_name(plan: Reannotation, tiny_registry: Path) -> None:
    app = typer.Typer()
    register(app)
    done = CliRunner().invoke(
        app,
        [
            "annotate", "tiny", "--rnas", str(plan.rnas[0]), "--llm", "http://x",
            "--registry", str(tiny_registry),
        ],
    )  # fmt: skip
    assert done.exit_code == 2
    assert "--llm-model" in done.output

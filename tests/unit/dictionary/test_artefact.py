"""A dictionary's folder: the same after reading, whole or not there, any flip seen."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ribolex.dictionary import (
    Gate,
    Standardisation,
    Target,
    artefact,
    load_dictionary,
    read_manifest,
    write_dictionary,
)
from ribolex.dictionary.identity import Bound, Manifest
from ribolex.errors import CorruptArtefactError, DictionaryExistsError

Write = Callable[..., Path]


def test_what_is_read_is_what_was_written(write: Write) -> None:
    found = load_dictionary(write())
    assert (found.name, found.version, found.ref) == ("demo", 0, "demo@0")
    assert found.identity.metrics == {"fvu": 0.25, "l0": 3.0}
    assert found.mean.tolist() == [0.5] * 6
    assert found.sae.encode(torch.ones(2, 6)).indices.shape == (2, 3)
    assert found.features.label[3] == "fires on G"
    assert found.features.density.dtype == np.float32
    assert found.features.evidence_of(0)[0].n_families == 4
    assert found.features.examples_of(19)[0].positions == (0, 3)
    assert found.panel.sequences == ("ACGU", "GGGCC")
    assert found.panel.compare(found.panel.codes) == (1.0, 0.0)
    assert found.features.ancestor[:3].tolist() == [-1, 0, 1]
    assert found.features.ancestor_confidence.dtype == np.float32


def test_thresholds_and_target_of_a_transcoder_come_back(
    tmp_path: Path, parts: dict[str, Any]
) -> None:
    threshold, like = torch.rand(20), parts["identity"].standardisation
    target = Target(4, True, Standardisation((2.0,) * 6, like.sigma))
    parts["sae"] = replace(parts["sae"], threshold=threshold)
    parts["identity"] = replace(
        parts["identity"], kind="transcoder", activation="jumprelu", target=target
    )
    write_dictionary(tmp_path / "one", name="one", **parts)
    found = load_dictionary(tmp_path / "one")
    assert found.sae.threshold is not None
    assert torch.equal(found.sae.threshold, threshold)
    assert found.identity.target == target
    assert found.mean.tolist() == [2.0] * 6
    config = json.loads((tmp_path / "one" / artefact.CONFIG_FILE).read_text())
    assert (config["architecture"], config["d_out"]) == ("jumprelu_transcoder", 6)


def test_card_and_evaluation_belong_to_the_content(
    tmp_path: Path, parts: dict[str, Any]
) -> None:
    extras = {"README.md": b"# one", "evaluation.json": b"{}"}
    write_dictionary(tmp_path / "one", name="one", extras=extras, **parts)
    load_dictionary(tmp_path / "one")
    (tmp_path / "one" / "README.md").write_bytes(b"# two")
    with pytest.raises(CorruptArtefactError, match=r"README\.md"):
        load_dictionary(tmp_path / "one")


@pytest.mark.parametrize(
    ("bound", "got", "is_met"),
    [
        ("at_most", 1.0, True),
        ("at_most", 1.1, False),
        ("at_most", float("nan"), False),
        ("at_least", 1.0, True),
        ("at_least", 0.9, False),
        ("at_least", float("nan"), False),
    ],
)
def test_gate_holds_on_its_side_of_the_limit(
    bound: Bound, got: float, is_met: bool
) -> None:
    assert Gate("fvu", 1.0, got, bound).is_met is is_met


def test_content_id_follows_content_only(write: Write) -> None:
    one, same, other = write("a"), write("b", name="demo2"), write("c", seed=1)
    ids = [read_manifest(path).content_id for path in (one, same, other)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("name", [*artefact.FILES, artefact.MANIFEST_FILE])
def test_any_flipped_byte_is_noticed(write: Write, name: str) -> None:
    path = write()
    file = path / name
    data = bytearray(file.read_bytes())
    step = max(1, len(data) // 40)
    for position in [*range(0, len(data), step), len(data) - 1]:
        for flip in (0x01, 0x80):
            broken = bytearray(data)
            broken[position] ^= flip
            file.write_bytes(broken)
            with pytest.raises(CorruptArtefactError) as caught:
                load_dictionary(path)
            assert name in caught.value.where
    file.write_bytes(data)
    load_dictionary(path)


@pytest.mark.parametrize("name", [*artefact.FILES, artefact.MANIFEST_FILE])
def test_missing_or_short_file_is_named(write: Write, name: str) -> None:
    path = write()
    data = (path / name).read_bytes()
    (path / name).write_bytes(data[:-1])
    with pytest.raises(CorruptArtefactError, match=name):
        load_dictionary(path)
    (path / name).unlink()
    with pytest.raises(CorruptArtefactError, match=name):
        load_dictionary(path)


def test_other_format_version_is_refused_by_its_number(write: Write) -> None:
    file = write() / artefact.MANIFEST_FILE
    fields = json.loads(file.read_text()) | {"format_version": 1}
    file.write_text(json.dumps(fields))
    with pytest.raises(CorruptArtefactError, match="format version is 1, expected 2"):
        load_dictionary(file.parent)


def test_a_manifest_that_lists_another_file_is_refused(write: Write) -> None:
    path = write()
    old = read_manifest(path)
    files = {name: entry for name, entry in old.files.items() if "panel" not in name}
    changed = Manifest.of(old.name, old.version, old.identity, files)
    (path / artefact.MANIFEST_FILE).write_bytes(changed.to_bytes())
    with pytest.raises(CorruptArtefactError, match=r"lists no panel\.safetensors"):
        load_dictionary(path)


def test_everyone_may_read_what_is_published(write: Write) -> None:
    modes = {file.stat().st_mode & 0o444 for file in write().iterdir()}
    assert modes == {0o444}


def test_existing_folder_is_never_overwritten(write: Write) -> None:
    write()
    with pytest.raises(DictionaryExistsError):
        write()


def test_failed_write_leaves_nothing(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(artefact, "write_panel", fail)
    with pytest.raises(OSError, match="disk full"):
        write()
    assert list(tmp_path.iterdir()) == []

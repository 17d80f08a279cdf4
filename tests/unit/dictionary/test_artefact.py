"""A dictionary's folder: the same after reading, whole or not there, any flip seen."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ribolex.dictionary import artefact, load_dictionary, read_manifest
from ribolex.dictionary.identity import Manifest
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
    fields = json.loads(file.read_text()) | {"format_version": 2}
    file.write_text(json.dumps(fields))
    with pytest.raises(CorruptArtefactError, match="format version is 2, expected 1"):
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

"""A corpus on disk is whole and what it says, and replaced only on request."""

import json
from pathlib import Path

import pytest
from tests.unit.trainer.corpus.conftest import Build

from ribolex.errors import CorruptArtefactError, InvalidRequestError
from ribolex.rna import Rna, write_rnas
from ribolex.trainer.corpus import Corpus, open_corpus

SEED = "# STOCKHOLM 1.0\n#=GF AC RF1\na ACGU\nb AGGU\n//\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "s.sto"
    path.write_text(SEED)
    return path


@pytest.fixture
def corpus(source: Path, build: Build) -> Corpus:
    return build(source)


def test_what_is_written_is_opened(corpus: Corpus) -> None:
    assert open_corpus(corpus.folder) == corpus


def test_every_damaged_file_is_named(corpus: Corpus) -> None:
    files = sorted(file for file in corpus.folder.iterdir() if file.suffix == ".gz")
    assert len(files) == 4
    for file in files:
        data = file.read_bytes()
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        for damaged in (flipped, data[:-1], None):
            file.unlink()
            if damaged is not None:
                file.write_bytes(damaged)
            with pytest.raises(CorruptArtefactError) as caught:
                open_corpus(corpus.folder)
            assert caught.value.where == str(file)
            file.write_bytes(data)
    open_corpus(corpus.folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format version 99, expected 1"),
        ({"parts": {}}, "expected the parts train, validation, test"),
        ({"n_read": "many"}, "n_read: "),
    ],
)
def test_manifest_that_cannot_be_is_refused(
    corpus: Corpus, change: dict[str, object], message: str
) -> None:
    file = corpus.folder / "corpus.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(CorruptArtefactError, match=message):
        open_corpus(corpus.folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"1"])
def test_file_that_is_no_manifest_is_refused(corpus: Corpus, content: bytes) -> None:
    (corpus.folder / "corpus.json").write_bytes(content)
    with pytest.raises(CorruptArtefactError, match="is no manifest"):
        open_corpus(corpus.folder)


def test_manifest_leads_to_no_file_elsewhere(corpus: Corpus) -> None:
    file = corpus.folder / "corpus.json"
    file.write_text(file.read_text().replace('"test.tsv.gz"', '"../s.sto"'))
    with pytest.raises(CorruptArtefactError, match="expected a file beside"):
        open_corpus(corpus.folder)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtefactError, match=r"none/corpus\.json: is missing"):
        open_corpus(tmp_path / "none")


def test_corpus_is_replaced_only_by_force(
    corpus: Corpus, tmp_path: Path, build: Build
) -> None:
    write_rnas(tmp_path / "o.tsv.gz", [Rna("x", "GGGG")])
    with pytest.raises(InvalidRequestError, match="replaced only by force"):
        build(tmp_path / "o.tsv.gz")
    assert open_corpus(corpus.folder) == corpus
    replaced = build(tmp_path / "o.tsv.gz", force=True)
    assert open_corpus(corpus.folder) == replaced != corpus
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_folder_of_something_else_is_never_replaced(
    source: Path, tmp_path: Path, build: Build
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "only copy").touch()
    with pytest.raises(InvalidRequestError, match="is no corpus"):
        build(source, out="thesis", force=True)
    assert (tmp_path / "thesis" / "only copy").exists()


def test_empty_folder_is_taken_and_parents_are_made(
    source: Path, tmp_path: Path, build: Build
) -> None:
    (tmp_path / "empty").mkdir()
    open_corpus(build(source, out="empty").folder)
    open_corpus(build(source, out="far/away").folder)


def test_failure_while_replacing_keeps_the_old_one(
    corpus: Corpus, source: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target == corpus.folder and not self.name.endswith(".old"):
            raise OSError("no space")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no space"):
        build(source, force=True, salt="other")
    assert open_corpus(corpus.folder) == corpus

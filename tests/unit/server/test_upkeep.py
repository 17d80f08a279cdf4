"""The search for relatives of a collection is in step with its records."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.server.conftest import RandomCodes

from ribolex.dictionary import AlignmentModel, Codes, Dictionary
from ribolex.rna import Rna, kernels, scan_kernels, traceback
from ribolex.rna.extreme_value import ExtremeValue
from ribolex.server.index import position_kernels, positions
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.intake import Encoded
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.relatives import Sought
from ribolex.server.index.seams import Aligner
from ribolex.server.index.search import Search, Sensitivity
from ribolex.server.index.warming import warm_up

pytestmark = pytest.mark.timeout(300)  # the first calls compile


@pytest.fixture
def aligning(dictionary: Dictionary) -> Dictionary:
    """The dictionary with an alignment model."""
    random = np.random.default_rng(5)
    n_features = dictionary.sae.n_features
    letters = np.full((5, 5), -0.9, np.float32)
    letters[range(4), range(4)] = 1
    model = AlignmentModel(
        embedding=random.normal(size=(n_features, 6)).astype(np.float32),
        similarity=1.0,
        letters=letters,
        gap_open=2.4,
        gap_extend=0.45,
        centroids=random.normal(0, 0.4, (4, 31, 6)).astype(np.float32),
        statistics=ExtremeValue(1.0, 1.0, 1.0, 1.0),
    )
    return replace(dictionary, alignment=model)


@contextmanager
def opened(folder: Path, dictionary: Dictionary) -> Iterator[Collection]:
    if not folder.exists():
        folder.mkdir()
        Collection.create(folder, Facts.of("c", dictionary, SearchMeasure()))
    with closing(Collection(folder)) as collection:
        collection.load(dictionary)
        yield collection


class Sample:
    """RNAs by name, with which to look for them again."""

    def __init__(self, random_codes: RandomCodes) -> None:
        self._random = np.random.default_rng(3)
        self._codes = random_codes
        self.rnas: dict[str, tuple[str, Codes]] = {}

    def make(self, *names: str) -> list[Encoded]:
        out = []
        for name in names:
            sequence = "".join(self._random.choice(list("ACGU"), 60))
            self.rnas[name] = sequence, self._codes(60)
            out.append(Encoded(Rna(name, sequence), self.rnas[name][1], 0.5))
        return out

    def is_found(self, name: str, relatives: Aligner) -> bool:
        sequence, codes = self.rnas[name]
        hits = relatives.search(Sought.of(sequence, codes), limit=1, max_e_value=1e-6)
        return [hit.trace().query_stop for hit in hits] == [60]


@pytest.fixture
def sample(random_codes: RandomCodes, monkeypatch: pytest.MonkeyPatch) -> Sample:
    monkeypatch.setattr(positions, "SLOTS", 300)
    return Sample(random_codes)


def test_what_is_stored_or_changed_is_found_at_once(
    tmp_path: Path, aligning: Dictionary, sample: Sample
) -> None:
    with opened(tmp_path / "c", aligning) as collection:
        relatives = collection.indexes.relatives
        assert relatives is not None
        collection.upsert(sample.make(*"abcdefgh"))
        assert all(sample.is_found(name, relatives) for name in "abcdefgh")
        old = sample.rnas["b"]
        collection.upsert(sample.make("b"))
        assert sample.is_found("b", relatives)
        sample.rnas["old b"] = old
        assert not sample.is_found("old b", relatives)


def test_after_warming_up_no_search_compiles(
    tmp_path: Path, aligning: Dictionary, sample: Sample
) -> None:
    def compiled() -> dict[str, list[str]]:
        modules = position_kernels, kernels, scan_kernels, traceback
        found = {name: one for module in modules for name, one in vars(module).items()}
        return {
            name: [str(types) for types in getattr(one, "signatures", ())]
            for name, one in found.items()
        }

    warm_up()
    before = compiled()
    assert before["align_targets"]
    for _ in range(2):  # opened again it has blocks in files, and reads others
        with opened(tmp_path / "c", aligning) as collection:
            collection.upsert(sample.make(*"abcdefgh"))
            ways: tuple[Sensitivity, ...] = ("sensitive", "exhaustive")
            for sensitivity in ways:
                search = Search(9, 3, sensitivity)
                assert collection.search(collection.query_like("b"), search).hits
                query = collection.query_of(*sample.rnas["c"], 0.5)
                assert collection.search(query, search).hits
    assert compiled() == before


def test_opening_again_reads_only_what_no_file_holds(
    tmp_path: Path,
    aligning: Dictionary,
    sample: Sample,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with opened(tmp_path / "c", aligning) as collection:
        collection.upsert(sample.make(*"abcdefgh"))
        collection.upsert(sample.make("b", "i"))
    for are_lost in (False, False, True):
        for file in (tmp_path / "c" / "positions").glob("*.block"):
            if are_lost:
                file.unlink()
        caplog.clear()
        with (
            caplog.at_level("INFO"),
            opened(tmp_path / "c", aligning) as collection,
        ):
            relatives = collection.indexes.relatives
            assert relatives is not None
            found = [sample.is_found(n, relatives) for n in "abcdefghi"]
        assert all(found)
        n_anew = int(caplog.text.split("indexed, ")[1].split()[0])
        # Five of them fill the open block, which is only in memory.
        assert n_anew == 9 if are_lost else n_anew <= 5


def test_without_an_alignment_model_there_is_none(
    tmp_path: Path, dictionary: Dictionary, sample: Sample
) -> None:
    with opened(tmp_path / "c", dictionary) as collection:
        collection.upsert(sample.make("a"))
        assert collection.indexes.relatives is None
    assert not (tmp_path / "c" / "positions").exists()

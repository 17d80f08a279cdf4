"""The tiny model and dictionary, loaded, and random codes of their width."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.milvus import MilvusLite, running_milvus

from ribolex.dictionary import Codes, Dictionary
from ribolex.lm import LanguageModel, load_lm
from ribolex.registry import FolderRegistry
from ribolex.rna import Rna
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.intake import Encoded
from ribolex.server.index.measure import SearchMeasure

RandomCodes = Callable[[int], Codes]
MakeCollection = Callable[..., Collection]


@pytest.fixture(scope="session")
def milvus_lite() -> Iterator[MilvusLite]:
    with running_milvus() as found:
        yield found


@pytest.fixture(scope="session")
def lm(tiny_model: Path) -> LanguageModel:
    return load_lm(tiny_model)


@pytest.fixture(scope="session")
def dictionary(tiny_registry: Path) -> Dictionary:
    return FolderRegistry(tiny_registry).get("tiny@1")


@pytest.fixture
def random_codes(dictionary: Dictionary) -> RandomCodes:
    """Gives a function from a number of rows to codes, 6 features a row at most."""
    random = np.random.default_rng(7)
    n_features = dictionary.sae.n_features

    def make(n_rows: int) -> Codes:
        # As in real codes some features are much more common than others.
        ranks = np.argsort(
            random.random((n_rows, n_features)) ** np.arange(1, n_features + 1)
        )
        values = random.exponential(size=(n_rows, 6)).astype(np.float32)
        values[random.random((n_rows, 6)) < 0.2] = 0
        return Codes.from_topk(ranks[:, :6], values, n_features)

    return make


@pytest.fixture
def make_collection(tmp_path: Path, dictionary: Dictionary) -> MakeCollection:
    """Gives a function that makes an empty, loaded collection in a folder."""

    def make(measure: SearchMeasure = SearchMeasure(), name: str = "c") -> Collection:  # noqa: B008
        folder = tmp_path / name
        folder.mkdir()
        Collection.create(folder, Facts.of(name, dictionary, measure))
        collection = Collection(folder)
        collection.load(dictionary)
        return collection

    return make


def encoded(name: str, codes: Codes, **metadata: str) -> Encoded:
    return Encoded(Rna(name, "A" * len(codes), None, metadata), codes, 0.5)

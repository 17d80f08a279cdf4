"""A server whose codes are in a Milvus, over gRPC, through kills of either."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.conftest import OwnServer, random_alignment, random_dictionary
from tests.integration.conftest import Stubs, connect, failure_of
from tests.integration.test_collections import random_rnas
from tests.integration.test_lifecycle import process, upsert
from tests.milvus import running_milvus

from ribolex.dictionary import write_dictionary
from ribolex.dictionary.artefact import ALIGNMENT_FILE
from ribolex.lm import load_lm
from ribolex.registry import FolderRegistry
from ribolex.v1 import collection_pb2 as pb

WAYS = (pb.SENSITIVITY_FAST, pb.SENSITIVITY_SENSITIVE, pb.SENSITIVITY_EXHAUSTIVE)


def search(
    stubs: Stubs, sequence: str, way: pb.Sensitivity.ValueType = WAYS[0], **more: Any
) -> list[str]:
    request = pb.SearchSimilarRequest(
        collection="c", sequence=sequence, sensitivity=way, top_k=50, **more
    )
    hits = stubs.collections.SearchSimilar(request, timeout=60).hits
    return [hit.rna.name for hit in hits]


def search_once_it_can(stubs: Stubs, sequence: str) -> list[str]:
    deadline = time.monotonic() + 150
    while True:
        try:
            return search(stubs, sequence)
        except grpc.RpcError as error:
            failure = failure_of(error)
        assert failure.code == grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def aligning(tmp_path: Path, tiny_settings: dict[str, Any]) -> Path:
    """A registry with a dictionary that can align."""
    lm = load_lm(tiny_settings["model"])
    extras = {ALIGNMENT_FILE: random_alignment(3).to_bytes()}
    write_dictionary(
        tmp_path / "staged",
        name="tiny",
        extras=extras,
        **random_dictionary(0, lm, lm.digest),
    )
    registry = FolderRegistry(tmp_path / "registry")
    registry.publish(tmp_path / "staged")
    registry.set_current("tiny", 1)
    return tmp_path / "registry"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_was_acknowledged_is_found_whoever_was_killed(
    tmp_path: Path,
    tiny_settings: dict[str, Any],
    aligning: Path,
    own_server: OwnServer,
) -> None:
    rnas = random_rnas(30)
    with running_milvus() as milvus:
        changed = {"milvus": milvus.url, "registry": str(aligning)}
        with process({**tiny_settings, **changed}, tmp_path / "data") as server:
            stubs = connect(server.address)
            stubs.collections.CreateCollection(pb.CreateCollectionRequest(name="c"))
            upsert(stubs, "c", rnas[:20])
            for way in WAYS:
                assert search(stubs, rnas[3].sequence, way)[0] == "rna03"
            where = [pb.Condition(key="family", any_of=pb.Values(values=["f1"]))]
            found = search(stubs, rnas[4].sequence, where=where)
            assert found[0] == "rna04"
            assert set(found) == {one.name for one in rnas[1:20:3]}
            delete = pb.DeleteRnasRequest(collection="c", names=["rna03"])
            stubs.collections.DeleteRnas(delete)
            assert all("rna03" not in search(stubs, "ACGUACGU", way) for way in WAYS)
            milvus.kill()
            upsert(stubs, "c", rnas[20:25])
            with pytest.raises(grpc.RpcError) as caught:
                search(stubs, rnas[22].sequence)
            failure = failure_of(caught.value)
            assert failure.code == grpc.StatusCode.UNAVAILABLE
            assert f"Milvus at {milvus.url} is away" in failure.message
            assert search(stubs, rnas[22].sequence, exact=True)[0] == "rna22"
            server.popen.send_signal(signal.SIGKILL)
            server.popen.wait(timeout=10)
            stubs.channel.close()
        with own_server(**changed) as address:
            stubs = connect(address)
            upsert(stubs, "c", rnas[25:])
            milvus.start()
            found = search_once_it_can(stubs, rnas[22].sequence)
            assert found == search(stubs, rnas[22].sequence, exact=True)
            assert len(found) == 29
            assert search(stubs, rnas[28].sequence, WAYS[1])[0] == "rna28"
            stubs.channel.close()

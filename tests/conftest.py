"""What tests share: a tiny random model and dictionary, and a server on them."""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from ribolex.dictionary import (
    AlignmentModel,
    Codes,
    Evidence,
    EvidenceTable,
    Example,
    FeatureTable,
    Identity,
    Panel,
    Sae,
    Standardisation,
    write_dictionary,
)
from ribolex.dictionary.features import examples_json
from ribolex.lm import LanguageModel, LmConfig, RiNALMo, load_lm, save_network
from ribolex.registry import FolderRegistry
from ribolex.rna.extreme_value import ExtremeValue
from ribolex.server.app import serve
from ribolex.server.settings import ServerSettings

# Two threads on a busy two-core machine wait for each other more than they compute.
torch.set_num_threads(1)

N_FEATURES, K, LAYER = 96, 6, 1

OwnServer = Callable[..., AbstractContextManager[str]]

# How long an example takes says nothing of a busy machine.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gives the folder of a random model: 32 wide, 2 blocks, 4 heads."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    network = RiNALMo(LmConfig.of_width(32, 2, 4))
    save_network(network, folder, name="tiny", dtype=torch.float32)
    return folder


@pytest.fixture(scope="session")
def tiny_registry(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Gives a registry: tiny@1 (current), tiny@2, and other@1 for another model."""
    root, staging = (
        tmp_path_factory.mktemp("registry"),
        tmp_path_factory.mktemp("staged"),
    )
    registry = FolderRegistry(root)
    lm = load_lm(tiny_model)
    for seed, name, digest in (
        (0, "tiny", lm.digest),
        (1, "tiny", lm.digest),
        (2, "other", "0" * 64),
    ):
        staged = staging / str(seed)
        write_dictionary(staged, name=name, **random_dictionary(seed, lm, digest))
        registry.publish(staged)
        if seed != 1:
            registry.set_current(name, 1)
    return root


def random_alignment(seed: int) -> AlignmentModel:
    """Gives an alignment model of random vectors in which letters decide."""
    random = np.random.default_rng(seed)
    letters = np.full((5, 5), -2.0, np.float32)
    np.fill_diagonal(letters[:4], 2.0)
    return AlignmentModel(
        random.standard_normal((N_FEATURES, 8)).astype(np.float16).astype(np.float32),
        1.5,
        letters,
        6.0,
        1.0,
        random.normal(0, 0.4, (4, 31, 8)).astype(np.float16).astype(np.float32),
        ExtremeValue(0.5, 8.0, 1.0, 1.0),
    )


def random_dictionary(seed: int, lm: LanguageModel, lm_digest: str) -> dict[str, Any]:
    """Gives the parts of a random dictionary for the tiny model, as to write it."""
    generator = torch.Generator().manual_seed(seed)
    decoder = torch.randn(N_FEATURES, 32, generator=generator)
    decoder /= decoder.norm(dim=1, keepdim=True)
    sae = Sae(
        decoder.T.contiguous(), torch.zeros(N_FEATURES), decoder, torch.zeros(32), K
    )
    random = np.random.default_rng(seed)
    density, mean, largest, idf = random.random((4, N_FEATURES), np.float32) + 0.1
    evidence = [Evidence("type:tRNA", "enrichment", 3.0, 0.01, 1.0, 25, 4)]
    examples = examples_json([Example("ex", 2.5, (0, 3), "ACGU", {"family": "tRNA"})])
    features = replace(
        FeatureTable.blank(N_FEATURES),
        density=density,
        mean_activation=mean,
        max_activation=largest,
        idf=idf,
        label=tuple(f"feature {i} of seed {seed}" for i in range(N_FEATURES)),
        evidence=EvidenceTable.of([evidence] * N_FEATURES),
        examples=(examples,) * N_FEATURES,
    )
    x = lm.activations(["ACGU"], [LAYER])[0][LAYER]
    top = sae.encode(torch.from_numpy(x))
    codes = Codes.from_topk(top.indices.numpy(), top.values.numpy(), N_FEATURES)
    identity = Identity(
        "tiny", lm_digest, LAYER, "normed", "nucleotide", "sae", "topk", K, 32,
        N_FEATURES, Standardisation((0.0,) * 32, (1.0,) * 32), "1" * 64, seed,
        "CC0-1.0", {"fvu": 0.25, "l0": 6.0},
    )  # fmt: skip
    panel = Panel(("one",), ("ACGU",), codes)
    return {"identity": identity, "sae": sae, "features": features, "panel": panel}


@contextmanager
def serving(settings: ServerSettings) -> Iterator[str]:
    """Runs a server in a thread of this process; gives its address."""
    ready: Future[str] = Future()
    handles: queue.Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = (
        queue.Queue()
    )

    async def run() -> None:
        stop = asyncio.Event()
        handles.put((asyncio.get_running_loop(), stop))
        await serve(settings, stop, ready.set_result)

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            ready.set_exception(error)

    thread = threading.Thread(target=main)
    thread.start()
    loop, stop = handles.get(timeout=60)
    try:
        yield ready.result(timeout=120)
    finally:
        if loop.is_running():
            loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=60)


@pytest.fixture(scope="session")
def tiny_settings(tiny_model: Path, tiny_registry: Path) -> dict[str, Any]:
    """Gives the settings of a server on the tiny model, but for its data folder."""
    return {
        "port": 0,
        "model": str(tiny_model),
        "registry": str(tiny_registry),
        "dictionary": "tiny",
        "max_nucleotides": 200,
        "max_sequences": 16,
        "max_message_mib": 1,
        "drain_s": 5.0,
        # The same is asked for again and again, and is to be computed.
        "cache_mib": 0,
    }


@pytest.fixture(scope="session")
def running_server(
    tmp_path_factory: pytest.TempPathFactory, tiny_settings: dict[str, Any]
) -> Iterator[str]:
    """Gives "127.0.0.1:PORT" of a server on the tiny model, shared by all tests."""
    data = tmp_path_factory.mktemp("data")
    with serving(ServerSettings(**tiny_settings, data=data)) as address:
        yield address


@pytest.fixture
def own_server(tmp_path: Path, tiny_settings: dict[str, Any]) -> OwnServer:
    """Gives a function from changed settings to a server of the test's own."""

    def start(**changes: Any) -> AbstractContextManager[str]:
        fields = {**tiny_settings, "data": tmp_path / "data", **changes}
        return serving(ServerSettings(**fields))

    return start

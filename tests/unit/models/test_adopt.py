"""Weights at hand, for a machine without a network."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.unit.models.conftest import GOLDEN, NAME, OFFICIAL, Publisher, left_in

from ribolex.errors import CorruptInputError, ModelNotFoundError
from ribolex.lm import LmConfig, RiNALMo, hub, load_lm, load_network, save_network
from ribolex.lm.weights import digest_network
from ribolex.models.pull import adopt, pull

DIGEST = digest_network(load_network(OFFICIAL))


@pytest.mark.parametrize("path", [OFFICIAL, GOLDEN / "multimolecule_layout"])
def test_a_file_at_hand_is_taken_without_a_network(
    cache: Path, publisher: Publisher, path: Path
) -> None:
    origin = adopt(NAME, path).origin
    assert (origin.source, origin.weights_digest) == ("file", DIGEST)
    assert load_lm(NAME).name == NAME
    assert publisher.asked == []
    assert left_in(cache) == sorted(["config.json", "origin.json", origin.file])


def test_a_file_at_hand_that_is_the_published_one_is_recognised(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = hashlib.sha256(OFFICIAL.read_bytes()).hexdigest()
    model = hub.CATALOGUE[NAME]
    pinned = replace(model.sources[0], sha256=own)
    monkeypatch.setitem(hub.CATALOGUE, NAME, model._replace(sources=(pinned,)))
    origin = adopt(NAME, OFFICIAL).origin
    assert (origin.source, origin.licence) == ("official", "CC BY 4.0")


def test_a_file_at_hand_of_another_size_or_kind_is_refused(
    cache: Path, tmp_path: Path
) -> None:
    network = RiNALMo(LmConfig.of_width(80, 2, 20))
    save_network(network, tmp_path / "two", name="two", dtype=torch.float32)
    with pytest.raises(CorruptInputError, match="two/model.*2 layers of 80"):
        adopt(NAME, tmp_path / "two")
    (tmp_path / "noise.pt").write_bytes(b"noise")
    with pytest.raises(CorruptInputError, match=r"noise\.pt: is not readable"):
        adopt(NAME, tmp_path / "noise.pt")
    with pytest.raises(CorruptInputError, match=r"absent\.pt: there is no such file"):
        adopt(NAME, tmp_path / "absent.pt")
    with pytest.raises(CorruptInputError, match=r"expected 0{64} \(by --sha256\)"):
        adopt(NAME, OFFICIAL, sha256="0" * 64)
    assert left_in(cache) == []


@pytest.mark.usefixtures("cache")
def test_a_model_that_nobody_publishes_says_so() -> None:
    with pytest.raises(ModelNotFoundError, match="no weights of this size are publ"):
        pull("rinalmo-nano")
    with pytest.raises(ModelNotFoundError, match="nobody publishes them"):
        load_lm("rinalmo-nano")

"""Names of models: what they mean, and where their weights are looked for."""

from pathlib import Path

import pytest

from ribolex.errors import CorruptInputError, ModelNotFoundError
from ribolex.lm import PRESETS, load_lm, load_network
from ribolex.lm.hub import CATALOGUE, cache_folder, locate
from ribolex.lm.layouts import count_parameters


def test_the_sizes_are_the_published_ones() -> None:
    """The paper and its readme round to 33.5, 148 and 650 million."""
    counted = {
        name: count_parameters(model.config) for name, model in CATALOGUE.items()
    }
    assert counted == {
        "rinalmo-nano": 7_508_824,
        "rinalmo-micro": 33_491_074,
        "rinalmo-mega": 148_056_972,
        "rinalmo-giga": 650_901_793,
    }
    assert {name: model.config for name, model in CATALOGUE.items()} == PRESETS


def test_addresses_are_those_of_the_publications() -> None:
    official, other = CATALOGUE["rinalmo-giga"].sources
    record = "https://zenodo.org/records/15043668/files"
    assert official.address() == f"{record}/rinalmo_giga_pretrained.pt"
    repository = "https://huggingface.co/multimolecule/rinalmo-giga"
    assert other.address() == f"{repository}/resolve/main/model.safetensors"
    assert [m.name for m in CATALOGUE.values() if not m.sources] == ["rinalmo-nano"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"RIBOLEX_MODELS": "/a/b", "XDG_CACHE_HOME": "/c"}, "/a/b"),
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/ribolex"),
        ({"HOME": "/h"}, "/h/.cache/ribolex"),
        ({"RIBOLEX_MODELS": "~/x", "HOME": "/h"}, "/h/x"),
    ],
)
def test_the_cache_is_where_users_keep_theirs(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name in ("RIBOLEX_MODELS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gives an empty working folder, with an empty cache."""
    monkeypatch.setenv("RIBOLEX_MODELS", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("load", [load_lm, load_network, locate])
def test_a_known_name_that_is_not_here_says_how_to_get_it(load: object) -> None:
    assert callable(load)
    with pytest.raises(ModelNotFoundError, match="ribolex models pull rinalmo-giga"):
        load("rinalmo-giga")


@pytest.mark.usefixtures("bare")
def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        load_lm("rinalmo-gigantic")
    assert all(name in str(caught.value) for name in ("bundled", *CATALOGUE))


def test_a_path_stays_a_path(bare: Path) -> None:
    (bare / "mine").mkdir()
    assert locate("mine") == Path("mine")
    assert locate("./rinalmo-giga") == Path("rinalmo-giga")
    assert locate(Path("rinalmo-giga")) == Path("rinalmo-giga")
    with pytest.raises(CorruptInputError, match=r"absent\.pt: there is no such file"):
        load_lm("absent.pt")


def test_the_bundled_model_has_its_name() -> None:
    assert load_lm("bundled").name == "ribolex-mini"

"""Steer over a real socket: off unless told, and what it then tells."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import LAYER, OwnServer, serving

from ribolex.client import (
    AsyncClient,
    Client,
    Credentials,
    FeatureNotFoundError,
    Intervention,
    InvalidRequestError,
    NotPermittedError,
)
from ribolex.dictionary import Dictionary
from ribolex.dictionary.steering import values_of
from ribolex.lm import LanguageModel, Replacement
from ribolex.rna import VOCABULARY
from ribolex.server.settings import ServerSettings
from ribolex.server.tokens import add_token

RNA = "GGGAAACCCUAGNCA"
COLUMNS = [VOCABULARY.index(letter) for letter in "ACGT"]


@pytest.fixture(scope="module")
def address(
    tmp_path_factory: pytest.TempPathFactory, tiny_settings: dict[str, object]
) -> Iterator[str]:
    data = tmp_path_factory.mktemp("steering")
    settings = ServerSettings(**{**tiny_settings, "data": data, "steering": True})  # type: ignore[arg-type]
    with serving(settings) as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as found:
        yield found


def log_p(logits: np.ndarray) -> np.ndarray:
    own = logits[:, COLUMNS].astype(np.float64)
    out: np.ndarray = own - np.log(np.exp(own).sum(1, keepdims=True))
    return out


@pytest.fixture(scope="module")
def feature(lm: LanguageModel, dictionary: Dictionary) -> int:
    """Gives the feature that fires most in the RNA."""
    x = torch.from_numpy(lm.activations([RNA], [LAYER])[0][LAYER])
    return int(values_of(dictionary.sae, x, range(96)).sum(1).argmax())


def test_a_server_does_it_only_if_told_to(running_server: str) -> None:
    with (
        Client(running_server) as client,
        pytest.raises(NotPermittedError, match=r"switched off.*--steering"),
    ):
        client.steer(RNA, [Intervention(1, scale=0)])


def test_it_takes_an_admin(own_server: OwnServer, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    writer = add_token(tokens, "writer", "write").secret
    admin = add_token(tokens, "admin", "admin").secret
    asked = [Intervention(1, scale=0)]
    with own_server(tokens=tokens, steering=True) as address:
        with (
            Client(address, credentials=Credentials(writer)) as client,
            pytest.raises(NotPermittedError, match="expected 'admin'"),
        ):
            client.steer(RNA, asked)
        with Client(address, credentials=Credentials(admin)) as client:
            assert client.steer(RNA, asked).sequence == RNA


def test_a_scale_of_one_changes_nothing(
    client: Client, lm: LanguageModel, feature: int
) -> None:
    found = client.steer(RNA, [Intervention(feature, scale=1.0)])
    np.testing.assert_allclose(found.before, log_p(lm.logits([RNA])[0]), atol=1e-4)
    np.testing.assert_allclose(found.after, found.before, atol=1e-5)
    assert found.divergence.max() < 1e-6
    assert found.control_max is not None
    assert found.control_max.max() < 1e-6


def test_ablating_in_some_nucleotides_is_what_one_does_by_hand(
    client: Client, lm: LanguageModel, dictionary: Dictionary, feature: int
) -> None:
    sae, places = dictionary.sae, [1, 4, 5, 9]
    asked = Intervention(feature, scale=0.0, positions=places)
    found = client.steer(RNA, [asked], hidden=[4, 7], n_controls=3)

    def by_hand(x: torch.Tensor) -> torch.Tensor:
        (values,) = values_of(sae, x, [feature])
        chosen = torch.zeros(len(x))
        chosen[places] = 1.0
        out: torch.Tensor = x - (values * chosen)[:, None] * sae.W_dec[feature]
        return out

    replacement = Replacement(LAYER, LAYER, "normed", by_hand)
    expected = log_p(lm.logits([RNA], [[4, 7]], replacement)[0])
    before = log_p(lm.logits([RNA], [[4, 7]])[0])
    np.testing.assert_allclose(found.after, expected, atol=1e-4)
    np.testing.assert_allclose(found.before, before, atol=1e-4)
    divergence = (np.exp(before) * (before - expected)).sum(1)
    np.testing.assert_allclose(found.divergence, divergence, atol=1e-4)
    assert found.divergence.max() > 1e-5
    (told,) = found.features
    assert told.label == dictionary.features.label[feature]
    assert len(told.values) == len(RNA)
    assert found.control_mean is not None
    assert found.control_max is not None
    assert (found.control_mean <= found.control_max + 1e-7).all()
    assert found.control_max.max() > 1e-6


def test_controls_are_drawn_by_the_seed(client: Client, feature: int) -> None:
    asked = [Intervention(feature, clamp=3.0)]
    first = client.steer(RNA, asked, seed=1)
    np.testing.assert_array_equal(
        first.control_mean, client.steer(RNA, asked, seed=1).control_mean
    )
    other = client.steer(RNA, asked, seed=2)
    np.testing.assert_array_equal(first.after, other.after)
    assert first.control_mean is not None
    assert other.control_mean is not None
    assert not np.array_equal(first.control_mean, other.control_mean)
    assert client.steer(RNA, asked, n_controls=0).control_mean is None


async def test_the_asynchronous_client_gets_the_same(
    address: str, client: Client, feature: int
) -> None:
    asked = [Intervention(feature, clamp=3.0)]
    async with AsyncClient(address) as other:
        found = await other.steer(RNA, asked)
    np.testing.assert_array_equal(found.after, client.steer(RNA, asked).after)


def test_long_rnas_are_steered_in_every_window(
    own_server: OwnServer, lm: LanguageModel, dictionary: Dictionary, feature: int
) -> None:
    random = np.random.default_rng(0)
    sequence = "".join(random.choice(list("ACGU"), 1300))
    asked = [Intervention(feature, clamp=2.0)]
    with (
        own_server(steering=True, max_nucleotides=2000) as address,
        Client(address) as client,
    ):
        found = client.steer(sequence, asked, n_controls=0)

    def by_hand(x: torch.Tensor) -> torch.Tensor:
        (values,) = values_of(dictionary.sae, x, [feature])
        change = (2.0 - values)[:, None] * dictionary.sae.W_dec[feature]
        out: torch.Tensor = x + change
        return out

    replacement = Replacement(LAYER, LAYER, "normed", by_hand)
    expected = log_p(lm.logits([sequence], None, replacement)[0])
    np.testing.assert_allclose(found.after, expected, atol=1e-4)
    x = torch.from_numpy(lm.activations([sequence], [LAYER])[0][LAYER])
    (values,) = values_of(dictionary.sae, x, [feature])
    np.testing.assert_allclose(found.features[0].values, values.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("asked", "options", "message"),
    [
        ([], {}, "interventions: 0, expected 1 to 64"),
        ([Intervention(1)], {}, "expected one of scale and clamp"),
        ([Intervention(1, 0.0, 0.0)], {}, "expected one of scale and clamp"),
        ([Intervention(1, clamp=-1.0)], {}, r"interventions\[0\].clamp: -1, expected"),
        ([Intervention(1, scale=float("nan"))], {}, "scale: nan, expected"),
        ([Intervention(1, scale=0, positions=[15])], {}, "positions: 15, expected 0"),
        ([Intervention(1, scale=0)] * 2, {}, "expected each feature once"),
        ([Intervention(1, scale=0)], {"hidden": [15]}, "hidden: 15, expected 0 to 14"),
        ([Intervention(1, scale=0)], {"n_controls": 65}, "n_controls: 65, expected"),
    ],
)
def test_refusals_name_the_field(
    client: Client,
    asked: list[Intervention],
    options: dict[str, int],
    message: str,
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        client.steer(RNA, asked, **options)  # type: ignore[arg-type]


def test_what_is_not_there_is_not_found(client: Client) -> None:
    with pytest.raises(FeatureNotFoundError):
        client.steer(RNA, [Intervention(96, scale=0)])
    with pytest.raises(InvalidRequestError, match="'X' at position 1"):
        client.steer("X", [Intervention(1, scale=0)])

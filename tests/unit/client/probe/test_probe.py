"""Probes find planted features, say what they are worth, and come back from files."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize, special

from ribolex.client.codes import SparseCodes
from ribolex.client.errors import CorruptInputError, IncompatibleDictionaryError
from ribolex.client.probe import (
    Design,
    Probe,
    Reading,
    Weight,
    count_words,
    fit,
    validate,
)
from ribolex.client.probe.probe import to_dense
from ribolex.client.records import DictionaryRef

PROBE = Probe(
    DictionaryRef("mine", 2),
    9,
    "max",
    (
        Reading("no", 0.5, (Weight(3, -1.0, "fires on G"),)),
        Reading("yes", -0.5, (Weight(3, 2.0, "fires on G"), Weight(8, 1.0))),
    ),
    {"k": 2},
)


def draw(
    seed: int, n: int = 60
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Gives values of which features 4 and 7 say the label, in groups of three."""
    generator = np.random.default_rng(seed)
    labels = (np.arange(n) // 3 % 2).astype(np.int64)
    x = generator.random((n, 40)).astype(np.float32)
    x[:, 4] += 0.8 * labels
    x[:, 7] -= 0.8 * labels
    x[:, 11] = 0
    return x, labels


def test_the_planted_features_are_chosen() -> None:
    x, labels = draw(0)
    found = fit(x, labels == 1, Design(2))
    assert set(found.features.tolist()) == {4, 7}
    weights = dict(zip(found.features.tolist(), found.weights.tolist(), strict=True))
    assert weights[4] > 0 > weights[7]
    told = found.probabilities(x) > 0.5
    assert (told == (labels == 1)).mean() > 0.85


@pytest.mark.parametrize("n_label", [5, 30])
def test_weights_are_those_of_a_general_optimiser(n_label: int) -> None:
    x, _ = draw(1)
    is_label = np.arange(len(x)) < n_label
    found = fit(x, is_label, Design(6, 0.05))
    own = x[:, found.features].astype(np.float64)
    mean, deviation = own.mean(0), own.std(0) + 1e-6
    z = (own - mean) / deviation
    share = np.where(is_label, 0.5 / n_label, 0.5 / (len(x) - n_label))

    def loss(at: npt.NDArray[np.float64]) -> float:
        score = z @ at[:-1] + at[-1]
        own = share @ (np.logaddexp(0, score) - is_label * score)
        return float(own + 0.025 * (at[:-1] ** 2).sum())

    best = optimize.minimize(loss, np.zeros(7), tol=1e-12).x
    np.testing.assert_allclose(found.weights * deviation, best[:-1], atol=1e-4)
    expected = special.expit(z @ best[:-1] + best[-1])
    np.testing.assert_allclose(found.probabilities(x), expected, atol=1e-4)


def test_validation_beats_chance_only_where_there_is_something() -> None:
    x, labels = draw(2)
    groups = np.arange(60) // 3
    words = count_words(["ACGU" * 5] * 60)
    found = validate(x, words, labels, groups, Design(4))
    assert found.n_folds == 5
    assert found.n_groups == 20
    assert found.codes.auroc > 0.85
    assert found.p_value == pytest.approx(1 / 21)
    assert found.words.auroc == 0.5  # all words are alike
    assert 0.3 < found.dealt.balanced_accuracy < 0.7
    assert json.loads(json.dumps(found.told()))["codes"]["auroc"] == found.codes.auroc
    noise = np.random.default_rng(3).random((60, 400)).astype(np.float32)
    assert validate(noise, words, labels, groups, Design(4)).p_value > 0.05


def test_relatives_are_not_on_both_sides() -> None:
    # Values say who is whose relative, and nothing of labels.
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 5)
    labels = (groups % 2).astype(np.int64)
    x = generator.random((12, 30)).astype(np.float32)[groups]
    words = count_words(["ACGU"] * 60)
    alone = np.arange(60)
    assert validate(x, words, labels, alone, Design(8)).codes.auroc == 1.0
    assert validate(x, words, labels, groups, Design(8)).codes.auroc < 0.8


def test_words_are_counted_with_letters_and_length() -> None:
    found = count_words(["ACGUACG", "acgtNACGU"])
    column = int("0123", 4)
    np.testing.assert_allclose(np.expm1(found[:, column]), [1, 2], rtol=1e-6)
    np.testing.assert_allclose(np.expm1(found[:, :-5]).sum(1), [4, 2], rtol=1e-6)
    np.testing.assert_allclose(np.expm1(found[:, -1]), [7, 9], rtol=1e-6)


def test_a_probe_comes_back_from_its_file_and_answers(tmp_path: Path) -> None:
    PROBE.write(tmp_path / "probe.json")
    probe = Probe.read(tmp_path / "probe.json")
    assert probe == PROBE
    codes = SparseCodes(
        np.array([0, 2, 2]),
        np.array([3, 5], np.uint32),
        np.array([2.0, 9.0], np.float32),
        9,
    )
    fires, silent = probe.apply(codes)
    assert fires.label == "yes"
    expected = special.expit(-0.5 + 2 * np.log(3))
    assert fires.probabilities["yes"] == pytest.approx(expected)
    assert silent.label == "no"
    np.testing.assert_allclose(to_dense([codes])[0, [3, 5]], np.log1p([2, 9]))
    with pytest.raises(IncompatibleDictionaryError, match="of mine@2"):
        probe.apply(SparseCodes.empty(1, 8))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "other"),
        ("version", 2),
        ("dictionary", "mine"),
        ("pooling", "sum"),
        ("readings", []),
        ("readings", [{"label": "a", "intercept": 0, "weights": []}] * 2),
        ("readings", 3),
        ("n_features", 8),
        ("facts", None),
    ],
)
def test_what_is_no_probe_is_refused(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "probe.json"
    PROBE.write(path)
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, key: value}))
    with pytest.raises(CorruptInputError, match="no probe of version 1"):
        Probe.read(path)


@pytest.mark.parametrize("text", ["", "[]", "\udcff", "[" * 100_000, '{"format": NaN}'])
def test_what_is_no_json_of_a_probe_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "probe.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CorruptInputError, match="no probe of version 1"):
        Probe.read(path)

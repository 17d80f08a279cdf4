"""The path from sequences to codes: the same alone, in any batch, with any k."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.dictionary import (
    Codes,
    Dictionary,
    Sae,
    TopK,
    fvu,
    keep_strongest,
    pool,
)
from ribolex.errors import InvalidSequenceError, SequenceTooLongError
from ribolex.lm import LanguageModel
from ribolex.lm.inference import Laid
from ribolex.lm.windows import Piece
from ribolex.rna import tokenise
from ribolex.server.engine.encoding import EncodeTask, Encoding, Recipe, read_sequence
from ribolex.server.engine.task import compute, cost, longest_within

Wanted = tuple[str, Recipe]


def encoded(
    lm: LanguageModel, dictionary: Dictionary, *wanted: Wanted
) -> list[Encoding]:
    return compute(
        lm, [EncodeTask(text, dictionary, recipe) for text, recipe in wanted]
    )


SEQUENCES = st.text("ACGU", min_size=1, max_size=40)


def same(one: Codes, other: Codes) -> bool:
    """Whether codes agree to rounding; a feature may differ where it is next to 0."""
    if not (len(one) == len(other) and one.n_features == other.n_features):
        return False
    a, b = (np.zeros((len(each), each.n_features)) for each in (one, other))
    a[one.rows_of_entries(), one.indices] = one.values
    b[other.rows_of_entries(), other.indices] = other.values
    return bool(np.abs(a - b).max(initial=0) < 1e-4)


def test_codes_are_those_of_the_model_and_the_dictionary(
    lm: LanguageModel, dictionary: Dictionary
) -> None:
    """Against the simple way: one sequence, public calls only."""
    (encoding,) = encoded(lm, dictionary, ("GGGAAACCCU", Recipe(6, "max")))
    x = torch.from_numpy(lm.activations(["GGGAAACCCU"], [1])[0][1])
    top = dictionary.sae.encode(x)
    codes = Codes.from_topk(top.indices.numpy(), top.values.numpy(), 96)
    assert same(encoding.codes, codes)
    rebuilt = dictionary.sae.decode(top.indices, top.values)
    expected = (x - rebuilt).square().sum() / (x - dictionary.mean).square().sum()
    assert encoding.fvu == pytest.approx(float(expected), rel=1e-4)
    assert encoding.pooled is not None
    assert encoding.pooled.indices.tolist() == pool(codes, "max").indices.tolist()


@settings(max_examples=25, deadline=None)
@given(sequences=st.lists(SEQUENCES, min_size=1, max_size=6))
def test_a_sequence_gets_the_same_code_alone_and_in_any_batch(
    sequences: list[str], lm: LanguageModel, dictionary: Dictionary
) -> None:
    wanted = [(sequence, Recipe(6, None)) for sequence in sequences]
    together = encoded(lm, dictionary, *wanted)
    for each, encoding in zip(wanted, together, strict=True):
        (alone,) = encoded(lm, dictionary, each)
        assert same(alone.codes, encoding.codes)
        assert alone.fvu == pytest.approx(encoding.fvu, rel=1e-3)
        assert len(encoding.codes) == len(each[0])


def test_a_long_rna_is_encoded_window_by_window_to_the_same(
    lm: LanguageModel, dictionary: Dictionary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the simple way: all of its activations at once."""
    random = np.random.default_rng(3)
    long, short = ("".join(random.choice(list("ACGU"), n)) for n in (3000, 50))
    most = 0

    def encode(x: torch.Tensor, k: int | None = None) -> TopK:
        nonlocal most
        most = max(most, len(x))
        return Sae.encode(dictionary.sae, x, k)

    watched = SimpleNamespace(
        encode=encode,
        decode=dictionary.sae.decode,
        n_features=dictionary.sae.n_features,
    )
    spied: Any = SimpleNamespace(
        sae=watched, identity=dictionary.identity, mean=dictionary.mean, ref="spied@1"
    )
    recipes = (Recipe(6, "mean"), Recipe(2, None))
    wanted = [(text, recipe) for text in (short, long) for recipe in recipes]
    found = encoded(lm, spied, *wanted)
    assert most <= 2 * lm.max_nucleotides
    for (text, recipe), encoding in zip(wanted, found, strict=True):
        x = lm.hidden([tokenise(text)], 1, "normed")
        top = dictionary.sae.encode(x)
        indices, values = top.indices[:, : recipe.k], top.values[:, : recipe.k]
        codes = Codes.from_topk(indices.numpy(), values.numpy(), 96)
        assert same(encoding.codes, codes)
        rebuilt = dictionary.sae.decode(indices, values)
        expected = fvu(x, rebuilt, dictionary.mean, [len(x)])
        assert encoding.fvu == pytest.approx(float(expected), rel=1e-4)
        if recipe.pooling is not None:
            assert encoding.pooled is not None
            expected_mean = pool(encoding.codes, recipe.pooling)
            np.testing.assert_array_equal(encoding.pooled.values, expected_mean.values)


def test_cost_counts_what_windows_share() -> None:
    assert [cost(n) for n in (1, 1022)] == [3, 1024]
    assert cost(1023) == 2 * 1024
    assert 100_000 < cost(100_000) < 210_000


@given(st.integers(0, 20_000))
def test_the_longest_sequence_that_a_budget_holds(budget: int) -> None:
    longest = longest_within(budget)
    assert longest == 0 or cost(longest) <= budget
    assert cost(longest + 1) > budget


def test_fewer_features_are_the_strongest_of_the_same(
    lm: LanguageModel, dictionary: Dictionary
) -> None:
    text = "GGGAAACCCUACGUAC"
    wanted = [(text, Recipe(k, None)) for k in (6, 2)]
    full, part = encoded(lm, dictionary, *wanted)
    assert same(part.codes, keep_strongest(full.codes, 2))
    x = torch.from_numpy(lm.activations([text], [1])[0][1])
    rebuilt = dictionary.sae.decode(*dictionary.sae.encode(x, 2))
    expected = (x - rebuilt).square().sum() / (x - dictionary.mean).square().sum()
    assert part.fvu == pytest.approx(float(expected), rel=1e-4)


def test_equal_tasks_are_computed_once(
    lm: LanguageModel, dictionary: Dictionary, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    lay_out = LanguageModel.lay_out

    def count(self: LanguageModel, windows: list[Piece]) -> list[Laid]:
        seen.append(len(windows))
        return lay_out(self, windows)

    monkeypatch.setattr(LanguageModel, "lay_out", count)
    recipes = (Recipe(6, "max"), Recipe(6, "mean"), Recipe(3, "max"))
    wanted = [("ACGUACGU", recipe) for recipe in recipes * 2]
    encodings = encoded(lm, dictionary, *wanted, ("GG", recipes[0]))
    assert seen == [4]
    assert [len(encoding.codes) for encoding in encodings] == [8] * 6 + [2]
    for encoding, (_, recipe) in zip(encodings, wanted, strict=False):
        assert encoding.pooled is not None
        assert recipe.pooling is not None
        expected = pool(encoding.codes, recipe.pooling)
        assert encoding.pooled.values.tolist() == expected.values.tolist()


def test_sequences_are_read_as_the_contract_says() -> None:
    assert read_sequence("acgT", "s", 4, degap=False) == "ACGU"
    assert read_sequence("ac-gT.", "s", 4, degap=True) == "ACGU"
    with pytest.raises(SequenceTooLongError) as caught:
        read_sequence("x" * 5, "s", 4, degap=False)
    assert (caught.value.limit, caught.value.got) == (4, 5)
    with pytest.raises(SequenceTooLongError):
        read_sequence("ACGUA-", "s", 4, degap=True)
    for bad in ("", "ACXG", "AC-G"):
        with pytest.raises(InvalidSequenceError, match=r"^s: "):
            read_sequence(bad, "s", 4, degap=False)

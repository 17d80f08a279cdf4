"""Every nucleotide of a long RNA comes from the window that it lies deepest in."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ribolex.lm import LanguageModel, LmConfig, RiNALMo, load_lm
from ribolex.lm.windows import Window, cut, pieces
from ribolex.rna import read_rnas, tokenise
from ribolex_bundle import sample_path


def depth(window: Window, place: int, n_nucleotides: int) -> int:
    """The slow twin: distance to the nearer edge that is no end of the RNA."""
    if not window.start <= place < window.stop:
        return -1
    left = place - window.start if window.start else n_nucleotides
    right = n_nucleotides
    if window.stop < n_nucleotides:
        right = window.stop - 1 - place
    return min(left, right)


@given(st.integers(1, 400), st.integers(2, 60), st.data())
def test_nucleotides_are_kept_by_their_deepest_window(
    n_nucleotides: int, length: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, length - 1))
    windows = cut(n_nucleotides, length, overlap)
    keeper = [
        i for i, w in enumerate(windows) for _ in range(w.kept_start, w.kept_stop)
    ]
    for place in range(n_nucleotides):
        depths = [depth(window, place, n_nucleotides) for window in windows]
        assert keeper[place] == depths.index(max(depths))
    assert len(keeper) == n_nucleotides


@given(st.integers(1, 400), st.integers(2, 60), st.data())
def test_windows_are_full_and_share_the_overlap(
    n_nucleotides: int, length: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, length - 1))
    windows = cut(n_nucleotides, length, overlap)
    assert (windows[0].start, windows[-1].stop) == (0, n_nucleotides)
    assert {w.stop - w.start for w in windows} == {min(length, n_nucleotides)}
    for before, after in zip(windows[:-1], windows[1:], strict=True):
        assert before.stop - after.start >= overlap
    if len(windows) > 1:  # one window fewer would not do
        assert (len(windows) - 1) * (length - overlap) + overlap < n_nucleotides


def test_an_rna_that_fits_is_one_window_of_its_own_tokens() -> None:
    tokens = [tokenise("A" * 1022), tokenise("C" * 1023)]
    parts = pieces(tokens)
    assert parts[0].tokens is tokens[0]
    assert [part.member for part in parts] == [0, 1, 1]
    assert all(len(part.tokens) == 1024 for part in parts)


def random_rna(n_nucleotides: int) -> str:
    return "".join(
        np.random.default_rng(n_nucleotides).choice(list("ACGU"), n_nucleotides)
    )


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(RiNALMo(LmConfig.of_width(16, 2, 2)), "random")


@pytest.mark.parametrize("n_nucleotides", [1023, 2500])
def test_long_rna_is_pieced_together_of_its_windows(
    lm: LanguageModel, n_nucleotides: int
) -> None:
    rna = random_rna(n_nucleotides)
    got = lm.activations([rna, "ACGU"], [1, 2])[0]
    for window in cut(n_nucleotides):
        alone = lm.activations([rna[window.start : window.stop]], [1, 2])[0]
        kept = slice(window.kept_start, window.kept_stop)
        own = slice(window.kept_start - window.start, window.kept_stop - window.start)
        for layer in (1, 2):
            np.testing.assert_allclose(got[layer][kept], alone[layer][own], atol=1e-5)
    rows = lm.hidden(lm.prepare(["ACGU", rna]), 2, "normed").numpy()
    np.testing.assert_allclose(rows[4:], got[2], atol=1e-5)


def test_spans_adjoin_and_hold_the_activations(lm: LanguageModel) -> None:
    rna = random_rna(12_000)
    spans = list(lm.spans(lm.prepare([rna])[0], [1, 2], "raw"))
    assert len(spans) > 2
    whole = lm.activations([rna], [1, 2], "raw")[0]
    for layer in (1, 2):
        joined = np.concatenate([span.states[layer].numpy() for span in spans])
        np.testing.assert_allclose(joined, whole[layer], atol=1e-5)
    stops = np.cumsum([len(span.states[1]) for span in spans])
    assert [span.start for span in spans] == [0, *stops[:-1]]


def test_masks_of_a_long_rna_hide_letters_in_every_window(lm: LanguageModel) -> None:
    rna = random_rna(2000)
    other = rna[:1000] + "ACGU"["CGUA".index(rna[1000])] + rna[1001:]
    first, second = lm.logits([rna, other], masked=[[1000, 5], [1000, 5]])
    assert first.shape == (2000, 22)
    np.testing.assert_allclose(first, second, atol=1e-5)
    plain = lm.logits([rna])[0]
    assert np.abs(plain[1000] - first[1000]).max() > 1e-3


def test_seam_is_close_to_the_middle_of_a_window() -> None:
    """At a bare edge the bundled model's layer 6 is off by half its length."""
    lm, layer = load_lm("bundled"), 6
    sample = islice(read_rnas(sample_path()), 0, 3000, 60)
    rna = "".join(record.sequence for record in sample)[:1532]
    first, second = cut(len(rna))
    assert second.start + 512 == first.stop

    def off(got: np.ndarray, place: int) -> float:
        part = rna[place - 511 : place + 511]
        expected = lm.activations([part], [layer])[0][layer][511]
        return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))

    whole = lm.activations([rna], [layer])[0][layer]
    bare = lm.activations([rna[: first.stop]], [layer])[0][layer]
    seam = [off(whole[i], i) for i in range(first.kept_stop - 2, first.kept_stop + 2)]
    assert max(seam) < 0.2
    assert off(bare[-1], first.stop - 1) > 0.4

"""The autoencoder at inference: TopK, JumpReLU, elastic, one nucleotide at a time."""

from dataclasses import replace

import pytest
import torch

from ribolex.dictionary import Moments, Sae, fvu


def make_sae(d_in: int = 12, n_features: int = 40, k: int = 4, seed: int = 0) -> Sae:
    generator = torch.Generator().manual_seed(seed)
    w_dec = torch.nn.functional.normalize(
        torch.randn(n_features, d_in, generator=generator), dim=1
    )
    b_dec = torch.randn(d_in, generator=generator)
    return Sae(w_dec.T.contiguous(), -w_dec @ b_dec, w_dec, b_dec, k)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(30, 12, generator=torch.Generator().manual_seed(1))


def test_codes_are_the_largest_positive_scores(x: torch.Tensor) -> None:
    sae = make_sae()
    scores = (x @ sae.W_enc + sae.b_enc).relu()
    codes = sae.encode(x)
    torch.testing.assert_close(codes.values, scores.gather(1, codes.indices))
    assert (codes.values.min(1).values >= scores.sort(1).values[:, -4] - 1e-6).all()


def test_scores_below_zero_do_not_fire() -> None:
    sae = make_sae(k=40)
    codes = sae.encode(torch.randn(5, 12))
    assert (codes.values >= 0).all()
    assert (codes.values == 0).any()


def test_scores_at_or_below_their_threshold_do_not_fire(x: torch.Tensor) -> None:
    sae = replace(make_sae(k=40), threshold=torch.linspace(0, 2, 40))
    dense = torch.zeros(30, 40).scatter_(1, *sae.encode(x))
    scores = x @ sae.W_enc + sae.b_enc
    assert sae.threshold is not None
    expected = scores.relu() * (scores > sae.threshold)
    torch.testing.assert_close(dense, expected, atol=1e-5, rtol=1e-5)
    assert 0 < (dense > 0).sum() < (scores > 0).sum()


def test_a_score_equal_to_its_threshold_does_not_fire() -> None:
    one, none = torch.ones(1, 1), torch.zeros(1)
    sae = Sae(one, none, one, none, 1, threshold=torch.ones(1))
    assert sae.encode(torch.tensor([[1.0], [1.5]])).values.tolist() == [[0], [1.5]]


def test_of_those_above_their_thresholds_the_largest_k_fire(x: torch.Tensor) -> None:
    threshold = torch.linspace(0, 1, 40)
    whole = replace(make_sae(k=40), threshold=threshold).encode(x)
    part = replace(make_sae(k=3), threshold=threshold).encode(x)
    torch.testing.assert_close(part.values, whole.values[:, :3])


def test_fewer_are_the_strongest_of_the_same(x: torch.Tensor) -> None:
    sae = make_sae()
    whole, part = sae.encode(x), sae.encode(x, 2)
    assert torch.equal(part.indices, whole.indices[:, :2])
    assert torch.equal(part.values, whole.values[:, :2])


def test_a_nucleotide_alone_gets_the_code_it_has_in_a_batch(x: torch.Tensor) -> None:
    sae = make_sae()
    batch = sae.encode(x)
    for i in range(len(x)):
        alone = sae.encode(x[i : i + 1])
        assert torch.equal(alone.indices[0], batch.indices[i])
        torch.testing.assert_close(alone.values[0], batch.values[i])


def test_rows_beyond_one_part_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    sae, x = make_sae(), torch.randn(30, 12)
    whole = sae.encode(x)
    monkeypatch.setattr("ribolex.dictionary.sae._MAX_SCORES", 7 * 40)
    torch.testing.assert_close(sae.encode(x).values, whole.values)


def test_decode_adds_the_directions_that_fire(x: torch.Tensor) -> None:
    sae = make_sae()
    codes = sae.encode(x)
    dense = torch.zeros(30, 40).scatter_(1, codes.indices, codes.values)
    torch.testing.assert_close(
        sae.decode(*codes), dense @ sae.W_dec + sae.b_dec, atol=1e-5, rtol=1e-5
    )


def test_folded_autoencoder_reads_activations_as_they_are(x: torch.Tensor) -> None:
    mean, sigma = torch.randn(12) * 3, torch.rand(12) + 0.2
    sae, raw = make_sae(), x * sigma + mean
    folded = sae.fold(Moments(mean, sigma))
    ours, theirs = folded.encode(raw), sae.encode(x)
    assert torch.equal(ours.indices, theirs.indices)
    torch.testing.assert_close(ours.values, theirs.values, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        folded.decode(*ours), sae.decode(*theirs) * sigma + mean, atol=1e-5, rtol=1e-5
    )


def test_folding_leaves_thresholds_their_meaning(x: torch.Tensor) -> None:
    moments = Moments(torch.randn(12) * 3, torch.rand(12) + 0.2)
    sae = replace(make_sae(k=40), threshold=torch.full((40,), 0.7))
    ours = sae.fold(moments).encode(x * moments.sigma + moments.mean)
    assert torch.equal(ours.values > 0, sae.encode(x).values > 0)


def test_folded_transcoder_gives_what_its_target_is(x: torch.Tensor) -> None:
    source = Moments(torch.randn(12), torch.rand(12) + 0.2)
    target = Moments(torch.randn(7) * 3, torch.rand(7) + 0.2)
    sae = replace(make_sae(), W_dec=torch.randn(40, 7), b_dec=torch.randn(7))
    ours = sae.fold(source, target)
    codes, raw = sae.encode(x), x * source.sigma + source.mean
    torch.testing.assert_close(
        ours.decode(*ours.encode(raw)),
        sae.decode(*codes) * target.sigma + target.mean,
        atol=1e-4,
        rtol=1e-4,
    )


def test_no_rows_give_no_codes() -> None:
    sae = make_sae()
    codes = sae.encode(torch.empty(0, 12))
    assert codes.indices.shape == (0, 4)
    assert sae.decode(*codes).shape == (0, 12)


def test_fvu_is_of_each_sequence(x: torch.Tensor) -> None:
    mean = x.mean(0)
    rebuilt = torch.cat([x[:10], mean.expand(15, 12), 2 * mean - x[25:]])
    shares = fvu(x, rebuilt, mean, [10, 15, 5])
    torch.testing.assert_close(shares, torch.tensor([0.0, 1.0, 4.0]))

"""What callers of a language model rely on."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.errors import (
    CorruptInputError,
    InvalidRequestError,
    InvalidSequenceError,
)
from ribolex.lm import (
    Hook,
    LanguageModel,
    LmConfig,
    Precision,
    Replacement,
    RiNALMo,
    load_lm,
    save_network,
)
from ribolex.lm.model import Block, rotation
from ribolex.lm.windows import pieces
from ribolex.rna import tokenise

rnas = st.text(alphabet="ACGUN", min_size=1, max_size=60)


def random_model(precision: Precision = "float32") -> LanguageModel:
    torch.manual_seed(0)
    network = RiNALMo(LmConfig.of_width(40, 3, 4))
    return LanguageModel(network, "random", precision=precision)


LM, ROUGH = random_model(), random_model("bfloat16")
# Of an activation's length: some four times what these networks show at worst.
BFLOAT16_BOUND = 0.02


@settings(max_examples=12, deadline=None)
@given(st.lists(rnas, min_size=1, max_size=12))
def test_same_rna_same_activation_alone_and_in_any_batch(sequences: list[str]) -> None:
    together = LM.activations(sequences, layers=[1, 3])
    for sequence, activations in zip(sequences, together, strict=True):
        alone = LM.activations([sequence], layers=[1, 3])[0]
        for layer in (1, 3):
            assert activations[layer].shape == (len(sequence), 40)
            np.testing.assert_allclose(activations[layer], alone[layer], atol=1e-5)


@settings(max_examples=12, deadline=None)
@given(st.lists(rnas, min_size=1, max_size=12), st.randoms())
def test_order_and_company_change_nothing_in_bfloat16_beyond_its_bound(
    sequences: list[str], random: Random
) -> None:
    order = random.sample(range(len(sequences)), len(sequences))
    shuffled = ROUGH.activations([sequences[i] for i in order], layers=[1, 3])
    exact = LM.activations(sequences, layers=[1, 3])
    for place, i in enumerate(order):
        for layer in (1, 3):
            off = np.linalg.norm(shuffled[place][layer] - exact[i][layer], axis=1)
            size = np.linalg.norm(exact[i][layer], axis=1)
            assert (off / size).max() <= BFLOAT16_BOUND


def test_precision_changes_neither_name_nor_digest() -> None:
    assert (ROUGH.name, ROUGH.digest) == (LM.name, LM.digest)
    assert (ROUGH.dtype, LM.dtype) == (torch.bfloat16, torch.float32)
    assert not np.array_equal(ROUGH.logits(["ACGU"])[0], LM.logits(["ACGU"])[0])


def test_small_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = ["ACGU" * n for n in (9, 2, 30, 2, 14, 1)]
    whole = LM.activations(sequences, [1, 2])
    rows = LM.hidden(LM.prepare(sequences), 2, "raw")
    monkeypatch.setattr("ribolex.lm.inference._TOKENS_PER_CPU_THREAD", 40)
    for ours, theirs in zip(LM.activations(sequences, [1, 2]), whole, strict=True):
        for layer in (1, 2):
            np.testing.assert_allclose(ours[layer], theirs[layer], atol=1e-5)
    again = LM.hidden(LM.prepare(sequences), 2, "raw")
    np.testing.assert_allclose(again, rows, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.lists(rnas, min_size=1, max_size=12))
def test_hidden_holds_every_nucleotide_in_order(sequences: list[str]) -> None:
    rows = LM.hidden(LM.prepare(sequences), 2, "normed").numpy()
    expected = [x[2] for x in LM.activations(sequences, layers=[2])]
    np.testing.assert_allclose(rows, np.concatenate(expected), atol=1e-5)


def test_normed_is_what_the_next_layer_reads() -> None:
    raw = LM.activations(["ACGUACGU"], [2], hook="raw")[0][2]
    normed = LM.activations(["ACGUACGU"], [2], hook="normed")[0][2]
    centred = raw - raw.mean(1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(normed, expected, atol=1e-5)  # norms start as identity


def test_case_and_t_do_not_matter() -> None:
    upper, lower = LM.logits(["ACGU"])[0], LM.logits(["acgt"])[0]
    np.testing.assert_array_equal(upper, lower)


def test_mask_hides_the_letter() -> None:
    a, c = LM.logits(["AAAA", "ACAA"], masked=[[1], [1]])
    np.testing.assert_allclose(a, c, atol=1e-6)


def test_bad_letter_is_named_with_sequence_and_position() -> None:
    with pytest.raises(
        InvalidSequenceError, match=r"sequences\[1\].*'X' at position 3"
    ):
        LM.activations(["ACGU", "ACXU"], layers=[1])


@pytest.mark.parametrize("layers", [[0], [4], []])
def test_layer_that_is_not_there_is_refused(layers: list[int]) -> None:
    with pytest.raises(InvalidRequestError, match="layer"):
        LM.activations(["ACGU"], layers=layers)


def test_masked_position_outside_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"position 4 is not in 0\.\.3"):
        LM.logits(["ACGU"], masked=[[4]])


def test_saved_model_opens_with_name_digest_and_outputs(tmp_path: Path) -> None:
    network = RiNALMo(LmConfig.of_width(40, 3, 4))
    save_network(network, tmp_path / "x", name="tiny", dtype=torch.float32)
    opened, direct = load_lm(tmp_path / "x"), LanguageModel(network, "tiny")
    assert (opened.name, opened.digest) == ("tiny", direct.digest)
    assert opened.config == direct.config
    np.testing.assert_array_equal(
        opened.logits(["ACGU"])[0], direct.logits(["ACGU"])[0]
    )


def test_missing_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    state = torch.load(
        Path(__file__).parents[2] / "golden/rinalmo/rinalmo_official_layout.pt",
        weights_only=True,
    )
    state["embedding.weight"] = state["embedding.weight"][:5]
    del state["transformer.final_layer_norm.bias"]
    state["stray"] = torch.zeros(1)
    torch.save(state, tmp_path / "broken.pt")
    with pytest.raises(CorruptInputError) as caught:
        load_lm(tmp_path / "broken.pt")
    for part in (
        "missing transformer.final_layer_norm.bias",
        "unexpected stray",
        "embedding.weight is [5",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["weights.pt", "model.safetensors"])
def test_file_of_noise_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights at all" * 10)
    with pytest.raises(CorruptInputError, match=name):
        load_lm(tmp_path / name)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptInputError, match="there is no such file"):
        load_lm(tmp_path / "absent.pt")


@pytest.mark.parametrize("hook", ["normed", "raw"])
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_layer_replaced_by_itself_changes_nothing(hook: Hook, layer: int) -> None:
    sequences, masked = ["ACGUACGGN", "GC", "ACGU" * 300], [[1, 4], [], [7, 800]]
    itself = Replacement(layer, layer, hook, lambda x: x)
    plain = LM.logits(sequences, masked)
    for ours, theirs in zip(LM.logits(sequences, masked, itself), plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("hook", ["normed", "raw"])
@pytest.mark.parametrize(("source", "layer"), [(1, 1), (2, 2), (3, 3), (1, 3)])
def test_replacing_does_what_the_plain_network_does_by_hand(
    hook: Hook, source: int, layer: int
) -> None:
    """Nucleotides of both RNAs are replaced, CLS and EOS stay what they were."""
    torch.manual_seed(0)
    network = RiNALMo(LmConfig.of_width(40, 3, 4)).eval().requires_grad_(False)
    turn_around = torch.linalg.qr(torch.randn(40, 40))[0]
    found = LM.logits(
        ["ACGUGG", "GUC"],
        replacement=Replacement(layer, source, hook, lambda x: x @ turn_around + 1),
    )
    for sequence, logits in zip(["ACGUGG", "GUC"], found, strict=True):
        tokens = torch.from_numpy(tokenise(sequence).astype(np.int64))[None]
        raws = list(network.raw_outputs(tokens))
        states = raws
        if hook == "normed":
            states = [network.normed(i, raw) for i, raw in enumerate(raws, 1)]
        state = states[layer - 1].clone()
        state[:, 1:-1] = states[source - 1][:, 1:-1] @ turn_around + 1
        read = state if hook == "normed" else network.normed(layer, state)
        turn = rotation(tokens.shape[1], network.config.d_head, tokens.device)
        for number in range(layer, 3):
            block = network.blocks[number]
            assert isinstance(block, Block)
            x = read + block.attention(read, turn, None)
            read = network.normed(number + 1, x + block.ffn(block.ffn_norm(x)))
        expected = network.head(read)[0, 1:-1]
        np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_replacement_of_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="layer 4"):
        LM.logits(["ACGU"], replacement=Replacement(4, 4, "raw", lambda x: x))


@settings(max_examples=20)
@given(st.lists(rnas, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_windows_score_as_sequences_do(sequences: list[str], random: Random) -> None:
    hidden = [
        sorted(random.sample(range(len(one)), random.randint(0, min(3, len(one)))))
        for one in sequences
    ]
    expected = LM.logits(sequences, hidden)
    tokens = [tokenise(one) for one in sequences]
    for laid in LM.lay_out(pieces(tokens)):
        got = LM.score(laid, hidden).numpy()
        order = [piece.member for piece in laid.pieces]
        wanted = np.concatenate([expected[member] for member in order])
        np.testing.assert_allclose(got, wanted, atol=1e-4)


@pytest.mark.parametrize("hook", ["normed", "raw"])
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_one_run_gives_what_two_give(layer: int, hook: Hook) -> None:
    sequences = ["ACGUACGUGGCCA", "GG", "ACGUN"]
    expected = LM.activations(sequences, [layer], hook), LM.logits(sequences)
    for laid in LM.lay_out(pieces([tokenise(one) for one in sequences])):
        states, logits = LM.read_and_score(laid, layer, hook)
        order = [piece.member for piece in laid.pieces]
        rows = np.concatenate([expected[0][member][layer] for member in order])
        np.testing.assert_allclose(states.numpy(), rows, atol=1e-4)
        wanted = np.concatenate([expected[1][member] for member in order])
        np.testing.assert_allclose(logits.numpy(), wanted, atol=1e-4)


def test_a_hidden_nucleotide_is_hidden_in_every_window() -> None:
    random = Random(0)
    sequence = "".join(random.choices("ACGU", k=1200))
    hidden = [[0, 600, 650, 1199]]
    laid = LM.lay_out(pieces([tokenise(sequence)]))
    got = {}
    for batch in laid:
        table, start = LM.score(batch, hidden).numpy(), 0
        for piece in batch.pieces:
            n_kept = piece.window.kept_stop - piece.window.kept_start
            got[piece.window.kept_start] = table[start : start + n_kept]
            start += n_kept
    joined = np.concatenate([got[place] for place in sorted(got)])
    np.testing.assert_allclose(joined, LM.logits([sequence], hidden)[0], atol=1e-4)

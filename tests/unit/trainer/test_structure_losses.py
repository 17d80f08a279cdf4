"""The losses on structure: what batches know of pairs, and what is learned of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ribolex.lm import LmConfig
from ribolex.rna import AlignmentRow, Rna, write_rnas
from ribolex.trainer.pretraining.batches import BatchPlan, BatchSource
from ribolex.trainer.pretraining.corpus import UNKNOWN, UNPAIRED, FramedRnas
from ribolex.trainer.pretraining.launch import PretrainingData, launch
from ribolex.trainer.pretraining.loop import PretrainingPlan, read_checkpoint
from ribolex.trainer.pretraining.losses import partner_loss, side_loss
from ribolex.trainer.pretraining.objective import PretrainingModel, losses_of

STEM = 12
LOOP = 6
STRUCTURE = "(" * STEM + "." * LOOP + ")" * STEM
PARTNERS = {"A": "U", "U": "A", "C": "G", "G": "C"}


def hairpins(n: int, seed: int = 0) -> list[Rna]:
    """Random perfect hairpins, all of one family."""
    generator = np.random.default_rng(seed)
    rnas = []
    for i in range(n):
        arm = "".join(generator.choice(list("ACGU"), STEM))
        loop = "".join(generator.choice(list("ACGU"), LOOP))
        other = "".join(PARTNERS[letter] for letter in reversed(arm))
        metadata = {"family_acc": "RF1"}
        rnas.append(Rna(f"r{i}", arm + loop + other, STRUCTURE, metadata))
    return rnas


def rows_of(rnas: list[Rna]) -> list[AlignmentRow]:
    return [AlignmentRow("RF1", rna.name, rna.sequence) for rna in rnas]


def test_spans_lead_to_the_partner_and_back() -> None:
    framed = FramedRnas.of_rnas([[Rna("a", "GGAAACC", "((...))"), Rna("b", "ACGU")]])
    spans = framed.spans.tolist()
    assert spans[:9] == [UNKNOWN, 6, 4, UNPAIRED, UNPAIRED, UNPAIRED, -4, -6, UNKNOWN]
    assert set(spans[9:]) == {UNKNOWN}


def test_a_structure_without_pairs_says_nothing() -> None:
    framed = FramedRnas.of_rnas([[Rna("a", "GGAAACC", "." * 7)]])
    assert set(framed.spans.tolist()) == {UNKNOWN}


@pytest.mark.parametrize("pair_share", [0.0, 1.0])
def test_partners_in_a_batch_are_complementary(pair_share: float) -> None:
    rnas = hairpins(40)
    structures = {rna.sequence: STRUCTURE for rna in rnas}
    source = BatchSource(
        FramedRnas.of_rnas([rnas]),
        FramedRnas.of_alignments(rows_of(rnas), structures),
        BatchPlan(n_tokens=128, longest=26, pair_share=pair_share),
        np.random.default_rng(0),
    )
    complement = {5: 8, 8: 5, 6: 7, 7: 6}
    n_inside = n_outside = 0
    for _ in range(30):
        batch = source.draw()
        width = batch.targets.shape[1]
        paired = (batch.spans != UNPAIRED) & (batch.spans != UNKNOWN)
        for row, place in np.argwhere(paired):
            partner = place + batch.spans[row, place]
            if not 0 <= partner < width:
                n_outside += 1
                continue
            letters = batch.targets[row]
            assert complement[int(letters[place])] == letters[partner]
            n_inside += 1
    assert n_inside > 500
    assert n_outside > 50


def test_partner_loss_rewards_the_partner_alone() -> None:
    spans = torch.tensor([[3, UNPAIRED, UNKNOWN, -3, 2]])  # the last points outside
    right = torch.full((1, 5, 5), -20.0)
    right[0, 0, 3] = right[0, 3, 0] = 20.0
    assert partner_loss(right, spans) < 1e-6
    wrong = right.roll(1, dims=2)
    assert partner_loss(wrong, spans) > 30
    elsewhere = right.clone()
    elsewhere[0, [1, 2, 4]] = torch.randn(3, 5)
    assert partner_loss(elsewhere, spans) == partner_loss(right, spans)


def test_side_loss_tells_directions_apart_and_skips_the_unknown() -> None:
    spans = torch.tensor([[3, UNPAIRED, UNKNOWN, -3]])
    logits = torch.full((1, 4, 3), -20.0)
    logits[0, [0, 1, 3], [1, 0, 2]] = 20.0
    assert side_loss(logits, spans) < 1e-6
    assert side_loss(logits.flip(2), spans) > 10


def test_losses_without_any_structure_are_zero() -> None:
    spans = torch.full((2, 5), UNKNOWN)
    assert side_loss(torch.randn(2, 5, 3), spans) == 0
    assert partner_loss(torch.randn(2, 5, 5), spans) == 0


def test_partner_loss_teaches_the_one_head_and_what_lies_below() -> None:
    model = PretrainingModel(LmConfig.of_width(24, 3, 2), 8, partner_layer=2)
    tokens = torch.randint(5, 9, (2, 10))
    spans = torch.full((2, 10), UNPAIRED)
    spans[:, 0], spans[:, 9] = 9, -9
    losses = losses_of(model, tokens, tokens, torch.ones_like(tokens).bool(), spans)
    torch.autograd.backward(losses.partner)
    name = "network.blocks.{}.attention.qkv.weight"
    below, there, above = (model.get_parameter(name.format(i)).grad for i in range(3))
    assert below is not None
    assert below.abs().sum() > 0
    first_head = torch.zeros(72, dtype=torch.bool)
    first_head[:12] = first_head[24:36] = True  # its queries and keys
    assert there is not None
    assert torch.equal(there.abs().sum(1) > 0, first_head)
    assert above is None


def run_of(tmp_path: Path, **changes: object) -> tuple[PretrainingPlan, Path]:
    rnas = hairpins(100)
    table, aligned = tmp_path / "rnas.tsv.gz", tmp_path / "aligned.tsv"
    write_rnas(table, rnas)
    lines = ["family_acc\tname\taligned", *("\t".join(r) for r in rows_of(rnas))]
    aligned.write_text("\n".join(lines) + "\n")
    options = {"total_tokens": 2000, "checkpoint_steps": 5, **changes}
    plan = PretrainingPlan(
        LmConfig.of_width(24, 2, 2),
        BatchPlan(n_tokens=256, n_anchors=32),
        warmup_steps=4,
        compiled=False,
        **options,  # type: ignore[arg-type]
    )
    out = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
    launch(plan, PretrainingData([table], aligned, table), out)
    return plan, out


def test_partners_are_learned_from_the_tables_structures(tmp_path: Path) -> None:
    _, out = run_of(
        tmp_path,
        total_tokens=24_000,
        checkpoint_steps=25,
        learning_rate=1e-2,
        structure_weight=1.0,
    )
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert log[-1]["partner"] < 0.7 * log[0]["partner"]
    assert log[-1]["side"] < 0.7 * log[0]["side"]


def test_a_run_that_starts_from_another_counts_both(tmp_path: Path) -> None:
    plan, first = run_of(tmp_path)
    _, second = run_of(tmp_path, start=first / "checkpoint.pt", learning_rate=0.0)
    before, after = (read_checkpoint(run, plan.model) for run in (first, second))
    assert after.earlier_tokens == before.n_tokens
    for mine, theirs in zip(
        before.network.parameters(), after.network.parameters(), strict=True
    ):
        torch.testing.assert_close(mine, theirs)

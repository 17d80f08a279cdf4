"""Pretraining: what batches hold, what the losses reward, and resuming."""

import fcntl
import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from ribolex.errors import InvalidRequestError
from ribolex.lm import LmConfig, load_lm
from ribolex.lm.weights import digest_network
from ribolex.rna import AlignmentRow, Rna, read_rnas, write_rnas
from ribolex.rna.alphabet import CLS, EOS, MASK
from ribolex.trainer.cli import register
from ribolex.trainer.pretraining.batches import BatchPlan, BatchSource
from ribolex.trainer.pretraining.card import write_model
from ribolex.trainer.pretraining.corpus import FramedRnas
from ribolex.trainer.pretraining.launch import PretrainingData, launch
from ribolex.trainer.pretraining.loop import PretrainingPlan, rate_at, read_checkpoint
from ribolex.trainer.pretraining.losses import alignment_contrast_loss, masked_lm_loss
from ribolex.trainer.pretraining.scores import ContextModel, choose_letters, spoil


def random_rows(n_families: int = 4, members: int = 5) -> list[AlignmentRow]:
    """Families of a shared consensus, each member with gaps of its own."""
    generator = np.random.default_rng(1)
    rows = []
    for family in range(n_families):
        consensus = generator.choice(list("ACGU"), 60)
        for member in range(members):
            letters = consensus.copy()
            letters[generator.random(60) < 0.15] = "-"
            rows.append(AlignmentRow(f"RF{family}", f"m{member}", "".join(letters)))
    return rows


def source(pair_share: float, seed: int = 0) -> BatchSource:
    rows = random_rows()
    rnas = [
        Rna(
            row.name, row.aligned.replace("-", ""), None, {"family_acc": row.family_acc}
        )
        for row in rows
    ]
    plan = BatchPlan(n_tokens=256, pair_share=pair_share, n_anchors=64)
    generator = np.random.default_rng(seed)
    return BatchSource(
        FramedRnas.of_rnas([rnas]), FramedRnas.of_alignments(rows, {}), plan, generator
    )


def test_masking_follows_the_published_shares() -> None:
    draws, hidden, kept, swapped = 0, 0, 0, 0
    batches = source(pair_share=0.5)
    for _ in range(300):
        batch = batches.draw()
        framed = (batch.targets == CLS) | (batch.targets == EOS)
        assert not (batch.is_target & framed).any()
        assert (batch.inputs == batch.targets)[~batch.is_target].all()
        draws += (~framed).sum()
        hidden += (batch.inputs[batch.is_target] == MASK).sum()
        same = batch.inputs[batch.is_target] == batch.targets[batch.is_target]
        kept += same.sum()
        swapped += (~same & (batch.inputs[batch.is_target] != MASK)).sum()
    chosen = hidden + kept + swapped
    assert chosen / draws == pytest.approx(0.15, abs=0.01)
    assert hidden / chosen == pytest.approx(0.8, abs=0.02)
    # A random letter is the true one in a quarter of the cases.
    assert kept / chosen == pytest.approx(0.125, abs=0.02)


def test_pairs_share_an_alignment_column() -> None:
    # Without substitutions, nucleotides of one column are the same letter.
    batches, n_pairs = source(pair_share=1.0), 0
    for _ in range(50):
        batch = batches.draw()
        letters = batch.targets.ravel()
        width = batch.targets.shape[1]
        np.testing.assert_array_equal(letters[batch.anchors], letters[batch.partners])
        rows = batch.anchors // width, batch.partners // width
        np.testing.assert_array_equal(rows[0] ^ 1, rows[1])
        n_pairs += len(batch.anchors)
    assert n_pairs > 1000


def test_families_without_relatives_fall_back_to_single_rnas() -> None:
    rows = random_rows(n_families=1, members=1)
    rnas = FramedRnas.of_rnas([[Rna("a", "ACGU" * 20)]])
    plan = BatchPlan(n_tokens=128, pair_share=1.0)
    batches = BatchSource(
        rnas, FramedRnas.of_alignments(rows, {}), plan, np.random.default_rng(0)
    )
    assert not len(batches.draw().anchors)


def test_contrast_is_lowest_when_partners_are_alike() -> None:
    z = torch.eye(8).repeat(2, 1)
    anchors = torch.arange(8)
    right = alignment_contrast_loss(z, anchors, anchors + 8)
    wrong = alignment_contrast_loss(z, anchors, (anchors + 1) % 8 + 8)
    assert right < 0.01 < wrong


def test_masked_lm_loss_counts_hidden_letters_only() -> None:
    logits = torch.full((1, 3, 22), -20.0)
    logits[0, :, 5] = 20.0
    targets = torch.tensor([[5, 6, 5]])
    hit = masked_lm_loss(logits, targets, torch.tensor([[True, False, True]]))
    miss = masked_lm_loss(logits, targets, torch.tensor([[False, True, False]]))
    assert hit < 1e-3
    assert miss > 30


def test_rate_warms_up_holds_and_falls() -> None:
    plan = PretrainingPlan(LmConfig.of_width(24, 1, 2), total_tokens=1000)
    assert rate_at(plan, 0, 0) < plan.learning_rate / 100
    assert rate_at(plan, 5000, 500) == plan.learning_rate
    assert rate_at(plan, 9000, 1000) == pytest.approx(plan.learning_rate / 20)


def test_context_model_beats_unigram_where_context_decides() -> None:
    sequences = ["ACGU" * 20] * 5
    chosen = choose_letters(sequences)
    models = ContextModel.of_every_reach(sequences, 1)
    unigram, context = (model.score(sequences, chosen) for model in models)
    assert unigram.cross_entropy == pytest.approx(np.log(4), abs=1e-3)
    assert context.accuracy == 1.0
    assert context.n_nucleotides == sum(len(places) for places in chosen)


def small_run(
    tmp_path: Path, processes: int = 1
) -> tuple[PretrainingPlan, PretrainingData]:
    rows = random_rows()
    table, aligned = tmp_path / "rnas.tsv.gz", tmp_path / "aligned.tsv"
    rnas = (
        Rna(r.name, r.aligned.replace("-", ""), None, {"family_acc": r.family_acc})
        for r in rows
    )
    write_rnas(table, rnas)
    lines = ["family_acc\tname\taligned", *("\t".join(row) for row in rows)]
    aligned.write_text("\n".join(lines) + "\n")
    plan = PretrainingPlan(
        LmConfig.of_width(24, 2, 2),
        BatchPlan(n_tokens=256, n_anchors=32),
        total_tokens=4000 * processes,
        warmup_steps=4,
        checkpoint_steps=5,
        compiled=False,
    )
    return plan, PretrainingData([table], aligned, table)


def test_spoiling_keeps_to_the_chosen_letters_and_their_shares() -> None:
    sequences = ["ACGU" * 100] * 40
    chosen = choose_letters(sequences)
    spoiled = spoil(sequences, chosen)
    n_chosen = sum(map(len, chosen))
    assert sum(map(len, spoiled.masked)) / n_chosen == pytest.approx(0.8, abs=0.03)
    n_changed = 0
    for rna, (before, after) in enumerate(
        zip(sequences, spoiled.sequences, strict=True)
    ):
        changed = {i for i in range(len(before)) if before[i] != after[i]}
        assert changed <= set(chosen[rna]) - set(spoiled.masked[rna])
        n_changed += len(changed)
    assert n_changed / n_chosen == pytest.approx(0.075, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_stopped_run_ends_as_the_unbroken_one(tmp_path: Path, processes: int) -> None:
    plan, data = small_run(tmp_path, processes)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    launch(plan, data, unbroken, processes=processes)
    for stop_at in (0.0, float("inf")):  # ends at the first checkpoint, then goes on
        launch(plan, data, broken, processes=processes, stop_at=stop_at)
    digests = {
        digest_network(read_checkpoint(run, plan.model).network)
        for run in (unbroken, broken)
    }
    assert len(digests) == 1
    log = [json.loads(line) for line in (broken / "log.jsonl").read_text().splitlines()]
    assert log[-1]["tokens"] >= plan.total_tokens
    assert log[-1]["mlm"] < log[0]["mlm"]
    assert all(line["mlm"] > 1.0 for line in log)  # means, also after a stop


@pytest.mark.parametrize("processes", [1, 2])
def test_folder_of_a_run_at_work_is_refused(tmp_path: Path, processes: int) -> None:
    plan, data = small_run(tmp_path)
    out = tmp_path / "run"
    out.mkdir()
    with (out / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InvalidRequestError, match="another run is at work"):
            launch(plan, data, out, processes=processes)
    assert not (out / "log.jsonl").exists()


@pytest.mark.slow
@pytest.mark.timeout(400)  # three processes begin, beside whatever else is tested
def test_killed_run_leaves_no_process_at_work(tmp_path: Path) -> None:
    plan, data = small_run(tmp_path)
    (tmp_path / "run.pickle").write_bytes(
        pickle.dumps((replace(plan, total_tokens=10**9), data, tmp_path / "run"))
    )
    script = (
        "import pickle, sys, pathlib\n"
        "from ribolex.trainer.pretraining.launch import launch\n"
        "if __name__ == '__main__':\n"
        "    path = pathlib.Path(sys.argv[1])\n"
        "    launch(*pickle.loads(path.read_bytes()), processes=2)\n"
    )
    (tmp_path / "main.py").write_text(script)
    # As a shell without job control starts what it puts in the background.
    ignoring = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
    parent = subprocess.Popen(
        [*ignoring, sys.executable, tmp_path / "main.py", tmp_path / "run.pickle"],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until((tmp_path / "run/log.jsonl").exists, parent)
    finally:
        parent.kill()
        parent.wait()
    with (tmp_path / "run/.lock").open("w") as file:
        wait_until(lambda: is_free(file))


def wait_until(
    holds: Callable[[], bool], process: "subprocess.Popen[bytes] | None" = None
) -> None:
    deadline_s = time.monotonic() + 150
    while not holds():
        assert process is None or process.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def is_free(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_written_model_opens_and_its_card_states_what_was_measured(
    tmp_path: Path,
) -> None:
    plan, data = small_run(tmp_path)
    launch(plan, data, tmp_path / "run")
    scores = write_model(tmp_path / "run", plan, data, "tiny")
    lm = load_lm(tmp_path / "run/tiny")
    card = (tmp_path / "run/tiny/README.md").read_text()
    assert lm.digest in card
    assert f"| tiny, all masked | {scores.lm_masked.cross_entropy:.3f} |" in card
    assert "Of the 4 families of the validation RNAs, 4 are\n" in card
    assert (tmp_path / "run/tiny/families.txt").read_text().split() == [
        "RF0", "RF1", "RF2", "RF3",
    ]  # fmt: skip


def rows_as_stockholm(path: Path) -> Path:
    """Writes the random families as a file of Rfam's kind."""
    families: dict[str, list[str]] = {}
    for row in random_rows(n_families=12):
        line = f"{row.family_acc}_{row.name} {row.aligned}"
        families.setdefault(row.family_acc, []).append(line)
    texts = [
        "\n".join(["# STOCKHOLM 1.0", f"#=GF AC {family}", *lines, "//", ""])
        for family, lines in families.items()
    ]
    path.write_text("".join(texts))
    return path


def trainer(*arguments: str) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, list(arguments))


SMALL = [
    *("--d-model", "24", "--n-layers", "2", "--n-heads", "2"),
    *("--batch-tokens", "256", "--total-tokens", "600", "--checkpoint-steps", "5"),
]


def test_a_corpus_is_pretrained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    corpus = str(tmp_path / "corpus")
    options = ["--out", corpus, "--validation", "0.3", "--test", "0"]
    built = trainer(
        "corpus", "build", str(rows_as_stockholm(tmp_path / "x.sto")), *options
    )
    assert built.exit_code == 0, built.output
    run = ["--corpus", corpus, "--out", str(tmp_path / "run"), "--name", "tiny"]
    done = trainer("pretrain", *run, *SMALL)
    assert done.exit_code == 0, done.output
    trained_on = (tmp_path / "run/tiny/families.txt").read_text().split()
    in_train = {
        rna.metadata["family_acc"]
        for rna in read_rnas(tmp_path / "corpus/train.tsv.gz")
    }
    assert set(trained_on) == in_train
    card = (tmp_path / "run/tiny/README.md").read_text()
    assert f"Of the {12 - len(in_train)} families of the validation RNAs, 0 are" in card
    assert "| `train.aligned.tsv.gz` |" in card


def test_a_corpus_without_alignments_says_what_to_build(tmp_path: Path) -> None:
    write_rnas(
        tmp_path / "x.tsv",
        [
            Rna(f"r{i}", "ACGU" * 5 + "ACGU"[i % 4] * i, None, {"family_acc": f"RF{i}"})
            for i in range(20)
        ],
    )
    corpus = str(tmp_path / "corpus")
    built = trainer("corpus", "build", str(tmp_path / "x.tsv"), "--out", corpus)
    assert built.exit_code == 0, built.output
    with pytest.raises(InvalidRequestError, match=r"no alignment rows.*Stockholm"):
        PretrainingData.of_corpus(Path(corpus))


@pytest.mark.parametrize(
    "options", [[], ["--corpus", "c", "--rnas", "r"], ["--rnas", "r", "--aligned", "a"]]
)
def test_either_a_corpus_or_all_tables_are_given(options: list[str]) -> None:
    refused = trainer("pretrain", *options, "--out", "run")
    assert refused.exit_code == 2
    assert "either --corpus, or" in " ".join(refused.output.replace("│", "").split())

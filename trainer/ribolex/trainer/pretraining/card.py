"""Writes the card of a pretrained model: what it was trained on, how it scores.

Every figure is measured here and now; nothing is typed in by hand.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

import torch

from ribolex.lm import MAX_NUCLEOTIDES, LanguageModel, load_lm, save_network
from ribolex.rna import Rna, read_rnas
from ribolex.trainer.pretraining.launch import PretrainingData
from ribolex.trainer.pretraining.loop import (
    Checkpoint,
    PretrainingPlan,
    read_checkpoint,
)
from ribolex.trainer.pretraining.scores import (
    ContextModel,
    LetterScore,
    choose_letters,
    score_lm,
    spoil,
)

_LONGEST_REACH = 4
CARD_FILE = "README.md"
FAMILIES_FILE = "families.txt"


class CardScores(NamedTuple):
    """Letter prediction on the validation RNAs."""

    lm: LetterScore
    """With letters spoiled as in training."""
    lm_masked: LetterScore
    """With all chosen letters masked."""
    unigram: LetterScore
    context: LetterScore
    """The best of the context models on these very RNAs."""
    reach: int
    """Letters a side that the best context model looks at."""
    n_rnas: int
    n_families: int
    """Of the validation RNAs, as far as they are known."""
    n_seen: int
    """Of these, trained on."""


def measure(
    lm: LanguageModel, data: PretrainingData, trained_on: AbstractSet[str]
) -> CardScores:
    """Returns the model's score and its baselines' on all validation RNAs that fit.

    Args:
        lm: the model.
        data: the tables of its run.
        trained_on: families in them.
    """
    rnas = [r for r in read_rnas(data.validation) if len(r.sequence) <= MAX_NUCLEOTIDES]
    held_out = [rna.sequence for rna in rnas]
    families = _families(rnas)
    chosen = choose_letters(held_out)
    training = [rna.sequence for rna in read_rnas(data.rnas[0])]
    scored = [
        (model.score(held_out, chosen), model.reach)
        for model in ContextModel.of_every_reach(training, _LONGEST_REACH)
    ]
    best, reach = min(scored, key=lambda pair: pair[0].cross_entropy)
    unigram = scored[0][0]
    return CardScores(
        score_lm(lm, held_out, chosen, spoil(held_out, chosen)),
        score_lm(lm, held_out, chosen),
        unigram,
        best,
        reach,
        len(held_out),
        len(families),
        len(families & trained_on),
    )


def write_model(
    run: Path, plan: PretrainingPlan, data: PretrainingData, name: str
) -> CardScores:
    """Writes a run's last checkpoint as the model run / name: weights and card.

    Weights are kept as float16. `families.txt` names every family trained on.
    """
    checkpoint, folder = read_checkpoint(run, plan.model), run / name
    save_network(checkpoint.network, folder, name=name, dtype=torch.float16)
    families = _families(rna for path in data.rnas for rna in read_rnas(path))
    (folder / FAMILIES_FILE).write_text("\n".join(sorted(families)) + "\n")
    lm = load_lm(folder)
    scores = measure(lm, data, families)
    (folder / CARD_FILE).write_text(_render(lm, plan, data, checkpoint, scores))
    return scores


def _families(rnas: Iterable[Rna]) -> set[str]:
    return {rna.metadata.get("family_acc", "") for rna in rnas} - {""}


def _render(
    lm: LanguageModel,
    plan: PretrainingPlan,
    data: PretrainingData,
    checkpoint: Checkpoint,
    scores: CardScores,
) -> str:
    config, batches = plan.model, plan.batches
    seen = f"{checkpoint.n_tokens:,} tokens, {checkpoint.step:,} steps"
    if checkpoint.earlier_tokens:
        seen += f", after {checkpoint.earlier_tokens:,} tokens of earlier runs"
    shape = f"{config.n_layers} blocks, {config.d_model} wide, {config.n_heads} heads"
    contrast = (
        f"weight {plan.contrast_weight}, in {batches.pair_share:.0%} of the batches"
    )
    structure = (
        f"weight {plan.structure_weight} each: unpaired, pairs downstream or upstream; "
        f"the partner, by one attention head"
        if plan.structure_weight
        else "not taught"
    )
    optimiser = (
        f"AdamW, peak rate {plan.learning_rate}, {batches.n_tokens} tokens a batch"
    )
    tables = "\n".join(
        f"| `{path.name}` | {sum(1 for _ in read_rnas(path)):,} RNAs |"
        for path in data.rnas
    )
    return f"""# {lm.name}

A RiNALMo (Penić et al., arXiv 2403.00043) trained from scratch for Ribolex with these
losses: masked language modelling, alignment contrast and, where it is known, structure.

| | |
|---|---|
| architecture | {shape}, FFN {config.ffn_hidden} |
| weights | SHA-256 {lm.digest} (as float32) |
| trained | {seen}, seed {plan.seed} |
| masking | 15 % of the nucleotides: 80 % mask, 10 % random letter, 10 % kept |
| alignment contrast | {contrast}; {plan.projection_width} wide, temperature 0.07 |
| structure | {structure} |
| optimiser | {optimiser} and process |
| licence | Apache-2.0 |

## Training data

Of the {scores.n_families:,} families of the validation RNAs, {scores.n_seen:,} are
among those trained on.

| table | holds |
|---|---|
{tables}
| `{data.aligned.name}` | alignment rows for the contrast |
| `{data.validation.name}` | {scores.n_rnas:,} RNAs for the scores below |

## Letter prediction on the validation RNAs

15 % of the A, C, G, U of each RNA are predicted ({scores.lm.n_nucleotides:,} letters).
They are spoiled at once: as in training (80 % masked, 10 % a random letter, 10 % left),
which is how masked language models are usually reported, or all masked, which leaves
nothing to read off. The context models are counted on `{data.rnas[0].name}` and see the
true letters around each one.

| model | cross-entropy (nats) | right |
|---|---|---|
{_row(f"{lm.name}, spoiled as in training", scores.lm)}
{_row(f"{lm.name}, all masked", scores.lm_masked)}
{_row(f"context model, {scores.reach} letters a side (best of 0 to 4)", scores.context)}
{_row("unigram", scores.unigram)}

## Limits

Trained on the tables above alone, up to {batches.longest} tokens at a time. It is
small; where quality decides, use an official RiNALMo.
"""


def _row(name: str, score: LetterScore) -> str:
    return f"| {name} | {score.cross_entropy:.3f} | {score.accuracy:.1%} |"

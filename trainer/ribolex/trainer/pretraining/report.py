"""Tells in Markdown what was measured of a model, and where it does not win.

Every figure comes from the scores; nothing is typed in by hand.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ribolex.trainer.pretraining.breakdown import LetterRow
from ribolex.trainer.pretraining.evaluation import LmScores
from ribolex.trainer.pretraining.probes import ProbeScore
from ribolex.trainer.pretraining.retrieval import RetrievalScore, RetrievalScores

_BEGIN = "<!-- measured by ribolex score-lm -->"
_END = "<!-- end of what ribolex score-lm measured -->"
_TWIN = "random twin: "


def put_on_card(card: Path, text: str) -> None:
    """Writes the text into a card, in the place of what an earlier call wrote."""
    old = card.read_text() if card.exists() else ""
    section = f"{_BEGIN}\n{text.rstrip()}\n{_END}"
    before, begin, rest = old.partition(_BEGIN)
    if begin:
        _, _, after = rest.partition(_END)
        card.write_text(f"{before}{section}{after}")
    else:
        gap = "\n" if old else ""
        card.write_text(f"{old}{gap}{section}\n")


def render(scores: LmScores) -> str:
    """Returns the card's section on all that was measured."""
    return "\n".join(
        [
            "## Measured on families that it never saw",
            "",
            *_preface(scores),
            "### Letter prediction",
            "",
            *_letters(scores.letters),
            "",
            "### Structure, by linear probes",
            "",
            *_probes(scores),
            "",
            "### Finding relatives",
            "",
            *_retrieval(scores),
            "",
            "### Where it does not win",
            "",
            *_losses(scores),
            "",
        ]
    )


def _preface(scores: LmScores) -> list[str]:
    text = f"""Model {scores.name}, weights {scores.digest[:12]}. A random twin is the
        same network with the weights that training begins with."""
    if scores.is_quick:
        text += """ **Quick figures**, of few queries and a small database: good for
            comparing models with each other, not with figures from elsewhere."""
    return [_wrap(text), ""]


def _letters(rows: Sequence[LetterRow]) -> list[str]:
    reach = rows[0].reach if rows else 0
    return [
        _wrap(
            f"""Cross-entropy in nats (letters right). 15 % of the letters are chosen
            and, for the model, spoiled as in training or all masked. The model and
            its twin choose among all 22 tokens, the context model and the unigram
            among A, C, G and U. The context model sees the true letters on both
            sides, {reach} a side, the best of 0 to 4. Paired and unpaired letters
            are those of RNAs whose consensus structure keeps a pair."""
        ),
        "",
        "| letters | n | spoiled | all masked | context model | unigram "
        "| random twin, all masked |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {row.group} | {row.n_nucleotides:,} "
            f"| {row.lm:.3f} ({row.lm_accuracy:.1%}) "
            f"| {row.lm_masked:.3f} ({row.lm_masked_accuracy:.1%}) "
            f"| {row.context:.3f} ({row.context_accuracy:.1%}) "
            f"| {row.unigram:.3f} | {row.twin_masked:.3f} |"
            for row in rows
        ),
    ]


def _probes(scores: LmScores) -> list[str]:
    def row(name: str, probe: ProbeScore) -> str:
        return (
            f"| {name} | {probe.paired_auroc:.3f} | {probe.element_auroc:.3f} "
            f"| {probe.element_accuracy:.1%} |"
        )

    return [
        _wrap(
            """Logistic regression on single nucleotides, fitted on training families.
            Elements: stem, hairpin, bulge, internal, multiloop, external, end;
            AUROC is the mean of each against the rest. Where the card says that
            structure was taught, these figures show what was learned of the lesson,
            not what a language model finds by itself."""
        ),
        "",
        "| input | paired, AUROC | element, AUROC | element, right |",
        "|---|---|---|---|",
        row(scores.window_probe.features, scores.window_probe),
        *(row(probe.features, probe) for probe in scores.probes),
        *(row(_TWIN + probe.features, probe) for probe in scores.twin_probes),
    ]


def _retrieval(scores: LmScores) -> list[str]:
    some = next(iter(scores.baselines.values()))
    lines = [
        _wrap(
            f"""Queries against {scores.n_database:,} unique RNAs
            ({scores.n_nucleotides:,} nt): near, {some.near.n_queries} of
            {some.near.n_families} families, and remote, {some.remote.n_queries} of
            {some.remote.n_families}, with relatives of 60 % aligned identity and
            more taken out. Means over families. P@1: the first hit is of the
            family; R@10: share of the relatives among the first 10 hits, of as many
            as fit; mAP: of the first 100 hits. Aligned: local alignment, score /
            log length; the representation is projected on {scores.width} whitened
            principal components of training RNAs, the random twin's on its first
            {scores.plain_width} as they are, too: those tell little more than the
            letter. Where the card gives alignment contrast a
            weight, the columns of training families were taught: that relatives are
            found is learned of that lesson."""
        ),
        "",
        "| method | near P@1 | R@10 | mAP | remote P@1 | R@10 | mAP |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {_figures(found.near)} | {_figures(found.remote)} |"
        for name, found in _methods(scores)
    ]
    if scores.dictionary:
        lines += ["", f"Codes: {scores.dictionary}, the best 8 values a nucleotide."]
    return lines


def _methods(scores: LmScores) -> Iterator[tuple[str, RetrievalScores]]:
    yield from scores.baselines.items()
    yield from scores.model.items()
    yield from ((_TWIN + name, found) for name, found in scores.twin.items())


def _figures(score: RetrievalScore) -> str:
    return " | ".join(
        f"{value:.3f}" for value in (score.p_at_1, score.recall_at_10, score.map_at_100)
    )


class _Contest(NamedTuple):
    """What is compared in one measure; `higher` wins."""

    measure: str
    ours: float
    rivals: Mapping[str, float]
    is_higher_better: bool = True

    def lost_to(self) -> list[str]:
        return [
            f"{name} ({value:.3f})"
            for name, value in self.rivals.items()
            if (value >= self.ours if self.is_higher_better else value <= self.ours)
        ]


def _losses(scores: LmScores) -> list[str]:
    contests = [*_letter_contests(scores), *_probe_contests(scores)]
    contests += _retrieval_contests(scores)
    lines = [
        f"- {contest.measure}, {contest.ours:.3f}: not better than {', '.join(lost)}."
        for contest in contests
        if (lost := contest.lost_to())
    ]
    return lines or ["Nowhere, among the comparisons above."]


def _letter_contests(scores: LmScores) -> Iterator[_Contest]:
    for row in scores.letters:
        rivals = {
            "the context model": row.context,
            "the unigram": row.unigram,
            "the random twin": row.twin_masked,
        }
        measure = f"Cross-entropy of {row.group} letters, all masked"
        yield _Contest(measure, row.lm_masked, rivals, is_higher_better=False)


def _probe_contests(scores: LmScores) -> Iterator[_Contest]:
    window, twins = scores.window_probe, scores.twin_probes
    yield _Contest(
        "Probe for paired nucleotides, best layer, AUROC",
        max(probe.paired_auroc for probe in scores.probes),
        {
            window.features: window.paired_auroc,
            "the random twin": max(probe.paired_auroc for probe in twins),
        },
    )
    yield _Contest(
        "Probe for elements, best layer, AUROC",
        max(probe.element_auroc for probe in scores.probes),
        {
            window.features: window.element_auroc,
            "the random twin": max(probe.element_auroc for probe in twins),
        },
    )


def _retrieval_contests(scores: LmScores) -> Iterator[_Contest]:
    rivals = dict(scores.baselines)
    rivals |= {_TWIN + name: found for name, found in scores.twin.items()}
    for name, found in scores.model.items():
        for case in ("near", "remote"):
            yield _Contest(
                f"{name[0].upper()}{name[1:]}, {case}, mAP",
                _case(found, case).map_at_100,
                {rival: _case(x, case).map_at_100 for rival, x in rivals.items()},
            )


def _wrap(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 90)


def _case(scores: RetrievalScores, case: str) -> RetrievalScore:
    return scores.near if case == "near" else scores.remote

"""An evaluation and its gates as tables for a terminal.

Knows nothing of how anything was measured.
"""

from collections.abc import Iterator, Sequence

from rich.table import Table

from ribolex.dictionary import Gate
from ribolex.trainer.evaluation import Evaluation
from ribolex.trainer.evaluation.card import TASKS
from ribolex.trainer.evaluation.probing import ProbeScore

_SIDES = {"at_most": "at most", "at_least": "at least"}


def tabulate(evaluation: Evaluation, gates: Sequence[Gate] = ()) -> Iterator[Table]:
    """Yields the measures with their gates, then the probes where there are any."""
    yield _measures(evaluation, gates)
    if evaluation.probes:
        yield _probes(evaluation)


def describe_failure(gate: Gate) -> str:
    """Returns which gate failed, what it got and what it wants."""
    return (
        f"gate {gate.metric}: {gate.got:.4f}, expected {_SIDES[gate.bound]} "
        f"{gate.limit:g}"
    )


def _measures(evaluation: Evaluation, gates: Sequence[Gate]) -> Table:
    found, controls = evaluation.reconstruction, evaluation.controls
    limits = {gate.metric: gate for gate in gates}
    table = Table(
        title=f"{evaluation.subject.name}, {found.n_nucleotides:,} held-out rows"
    )
    table.add_column("measure", no_wrap=True)
    for heading in ("dictionary", *(control.name for control in controls)):
        table.add_column(heading, justify="right")
    if gates:
        table.add_column("gate", justify="right")

    def add(
        metric: str, title: str, got: float | None, theirs: Sequence[float | None] = ()
    ) -> None:
        cells = [*theirs, *[None] * (len(controls) - len(theirs))]
        verdict = [_verdict(limits.get(metric))] if gates else []
        table.add_row(title, _cell(got), *map(_cell, cells), *verdict)

    add("fvu", "variance unexplained", found.fvu, [c.fvu for c in controls])
    add("l0", "features a nucleotide", found.l0)
    dead = [control.dead_fraction for control in controls]
    add("dead_fraction", "dead features", found.dead_fraction, dead)
    add("dense_fraction", "dense features", found.dense_fraction)
    if found.cap_cut is not None:
        add("cap_cut", "nucleotides that the cap cuts", found.cap_cut)
    if evaluation.loss is not None:
        add("loss_recovered", "masked-letter loss recovered", evaluation.loss_recovered)
    if evaluation.stability is not None:
        stable = evaluation.stability
        add("", "cosine to another seed", stable.mean_cosine)
        add("", "  share at 0.7 or more", stable.share_07)
        add("", "  share at 0.9 or more", stable.share_09)
    if "panel_differing" in limits:
        differing = limits["panel_differing"].got
        add("panel_differing", "panel firings that differ", differing)
    counts = found.l0_histogram
    fired = [(n, count / found.n_nucleotides) for n, count in enumerate(counts)]
    spread = ", ".join(f"{n}: {share:.1%}" for n, share in fired if share)
    table.caption = f"features that fire on a nucleotide: {spread}"
    return table


def _probes(evaluation: Evaluation) -> Table:
    table = Table(
        title="read off by k features, AUROC on other families (95 % over clans)"
    )
    table.add_column("label", no_wrap=True)
    table.add_column("k", justify="right")
    for heading in ("dictionary", *(control.name for control in evaluation.controls)):
        table.add_column(heading, justify="right")
    for i, score in enumerate(evaluation.probes):
        theirs = [_score(control.probes[i]) for control in evaluation.controls]
        table.add_row(TASKS[score.task], str(score.k), _score(score), *theirs)
    return table


def _verdict(gate: Gate | None) -> str:
    if gate is None:
        return ""
    sign = "<=" if gate.bound == "at_most" else ">="
    return f"{sign} {gate.limit:g} {'ok' if gate.is_met else 'FAIL'}"


def _score(score: ProbeScore) -> str:
    return f"{score.auroc:.3f} {score.low:.2f}-{score.high:.2f}"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"

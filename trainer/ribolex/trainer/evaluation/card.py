"""The card of a dictionary: README.md in its folder, made of what was measured.

Knows nothing of how it was measured.
"""

import textwrap
from collections.abc import Iterator, Sequence

from ribolex.dictionary import Identity
from ribolex.trainer.evaluation.probing import ProbeScore
from ribolex.trainer.evaluation.record import Control, Evaluation

TASKS = {
    "paired": "paired or not",
    "element": "structure element",
    "type": "RNA type",
}
"""What probes read off, in words."""

_SIGNS = {"at_most": "<=", "at_least": ">="}
_LIMITS = """Probes say what can be read off, not what the model uses. Structures are
consensus structures projected on RNAs, as good as those. Numbers are of families
without a relative in training, if the tables were split by clan; the language model
may have read such families where its card does not exclude it. Two dictionaries of one
recipe share a part of their features only: ids mean nothing beyond this version but
where the lineage says so."""
_CREDITS = """RNAs and consensus structures are Rfam's (CC0). The architecture of the
language model is RiNALMo's (Penić et al. 2024; code Apache-2.0, official weights CC BY
4.0). SAELens opens `cfg.json` and `sae_weights.safetensors`."""


def write_card(evaluation: Evaluation, identity: Identity) -> str:
    """Returns the card in Markdown.

    Args:
        evaluation: of the dictionary.
        identity: with the gates that it passed.
    """
    parts = [
        f"# {evaluation.subject.name}",
        _wrap(_describe(evaluation, identity)),
        "## Measured",
        _wrap(_data(evaluation)),
        "\n".join(_measures(evaluation)),
        *_probes(evaluation),
        *_stability(evaluation),
        "## Controls",
        "\n".join(_controls(evaluation.controls)),
        "## Gates",
        "\n".join(_gates(identity)),
        "## Limits",
        _wrap(_LIMITS),
        "## Licence and credits",
        _wrap(f"{identity.licence}. {_CREDITS}"),
    ]
    return "\n\n".join(parts) + "\n"


def _describe(evaluation: Evaluation, identity: Identity) -> str:
    subject, target = evaluation.subject, identity.target
    reads = f"layer {subject.layer} ({subject.hook}) of {subject.lm_name}"
    does = f"A sparse autoencoder of {reads}"
    if target is not None:
        gives = "the step to layer" if target.is_difference else "layer"
        does = f"A transcoder that reads {reads} and gives {gives} {target.layer}"
    chooses = {
        "topk": f"the {subject.k} largest fire",
        "jumprelu": f"those above their threshold fire, at most {subject.k}",
    }[subject.activation]
    whom = {"nucleotide": "For each nucleotide", "sequence": "For each RNA"}
    return f"""{does}: {subject.n_features:,} features for {subject.d_in} dimensions.
        {whom[subject.level]} {chooses}. Seed {subject.seed}; trained on RNAs with the
        digest `{subject.training_data[:16]}`; made for weights with the digest
        `{subject.lm_digest[:16]}`."""


def _data(evaluation: Evaluation) -> str:
    data = evaluation.data
    text = f"""On {data.n_nucleotides:,} nucleotides of {data.n_rnas:,} held-out RNAs of
        {data.n_families:,} families ({data.n_clans:,} clans or families without one),
        on the exported weights. Probes and components were fitted on {data.fitted}
        ({data.n_fitted:,} nucleotides). Intervals are 95 % over clans.
        `evaluation.json` holds every number."""
    if data.n_shared_clans:
        text += f""" **{data.n_shared_clans} clans were both fitted and scored on: probe
            scores flatter.**"""
    return text


def _measures(evaluation: Evaluation) -> Iterator[str]:
    found, loss = evaluation.reconstruction, evaluation.loss
    yield "| measure | dictionary |" + "".join(
        f" {control.name} |" for control in evaluation.controls
    )
    yield "|---|---|" + "---|" * len(evaluation.controls)

    def row(title: str, own: float | None, theirs: Sequence[float | None] = ()) -> str:
        cells = [*theirs, *[None] * (len(evaluation.controls) - len(theirs))]
        return f"| {title} | {_cell(own)} |" + "".join(f" {_cell(x)} |" for x in cells)

    controls = evaluation.controls
    yield row("variance unexplained (FVU)", found.fvu, [c.fvu for c in controls])
    yield row("features a nucleotide (L0)", found.l0)
    dead = [control.dead_fraction for control in controls]
    yield row("features that never fire", found.dead_fraction, dead)
    yield row("features on > 10 % of nucleotides", found.dense_fraction)
    if found.cap_cut is not None:
        yield row("nucleotides that the cap k cuts", found.cap_cut)
    if loss is not None:
        yield row("masked-letter loss recovered", loss.recovered)
        yield ""
        yield _wrap(
            f"""Cross-entropy of {loss.n_letters:,} masked letters, nats:
            {loss.clean:.3f} with the layer as it is, {loss.rebuilt:.3f} rebuilt,
            {loss.mean:.3f} with its mean, {loss.zero:.3f} with zeros."""
        )


def _probes(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.probes:
        return
    yield _wrap(
        """Sparse probes, AUROC on families that nothing was chosen or fitted on: a
        logistic regression on the k features that differ most."""
    )
    lines = [
        "| read off | k | dictionary |"
        + "".join(f" {control.name} |" for control in evaluation.controls),
        "|---|---|---|" + "---|" * len(evaluation.controls),
    ]
    for i, score in enumerate(evaluation.probes):
        theirs = [_score(control.probes[i]) for control in evaluation.controls]
        cells = "".join(f" {cell} |" for cell in theirs)
        lines.append(f"| {TASKS[score.task]} | {score.k} | {_score(score)} |{cells}")
    yield "\n".join(lines)
    lost = [
        f"{TASKS[gap.task]}, k {gap.k}: {control.name} ({gap.gap:+.3f},"
        f" {gap.low:+.3f} to {gap.high:+.3f})"
        for control in evaluation.controls
        for gap in control.gaps
        if gap.low <= 0
    ]
    if lost:
        yield "Not surely better than a control (difference of AUROC, its interval):"
        yield "\n".join(f"- {line}" for line in lost)


def _stability(evaluation: Evaluation) -> Iterator[str]:
    found = evaluation.stability
    if found is not None:
        yield _wrap(
            f"""Found again in {found.other}: mean decoder cosine of best partners
            {found.mean_cosine:.3f}; {found.share_07:.1%} of the features at 0.7 or
            more, {found.share_09:.1%} at 0.9 or more."""
        )


def _controls(controls: Sequence[Control]) -> Iterator[str]:
    for control in controls:
        fit = f" Its fit saw {control.n_rows:,} rows." if control.n_rows else ""
        yield f"- **{control.name}**: {control.what}.{fit}"


def _gates(identity: Identity) -> Iterator[str]:
    for gate in identity.gates:
        sign = _SIGNS[gate.bound]
        yield f"- {gate.metric} {gate.got:.4f} {sign} {gate.limit:g}"
    if not identity.gates:
        yield "None was asked for."


def _score(score: ProbeScore) -> str:
    return f"{score.auroc:.3f} ({score.low:.3f}–{score.high:.3f})"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _wrap(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 90, break_on_hyphens=False)

"""Labels of features: sentences made by fixed rules from what was found of them.

Knows nothing of how that was found.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ribolex.trainer.annotation.findings import Finding

_NAMED_PRECISION = {"type": 0.5, "family": 0.5, "clan": 0.5}
_PRECISION = 0.6
_NAMED_ENRICHMENT = 1.5
_LEANINGS = 2
_SAID = (
    *("nucleotide", "kmer", "pair", "tract", "loop", "structure"),
    *("family", "clan", "type"),
)
"""Kinds of label in the order in which they are said."""
_SAYS_MORE = {
    "kmer": ("nucleotide",),
    "tract": ("nucleotide", "kmer"),
    "pair": ("nucleotide", "structure"),
    "loop": ("structure",),
    "family": ("clan", "type"),
    "clan": ("type",),
}
_PLACES = {
    "stem": "in stems",
    "hairpin": "in hairpin loops",
    "bulge": "in bulges",
    "internal": "in internal loops",
    "multiloop": "in multiloops",
    "external": "between helices",
    "end": "at the ends",
}
_SHAPES = {
    "point": "on single nucleotides",
    "motif": "in runs of about {run} nucleotides",
    "stretch": "in stretches of {run} nucleotides or more",
    "periodic": "every {period} nucleotides",
    "scattered": "scattered over the RNA",
    "whole": "on nearly the whole RNA",
}


class Sentence(NamedTuple):
    """What a feature stands for, and how sure that is."""

    text: str
    confidence: float
    """Share of the draws of clans in which all of it holds, 0..1; NaN if it says
    nothing that could fail to."""


class Look(NamedTuple):
    """What is known of a feature without any label."""

    shape: str
    run_length: int
    period: int
    consensus: str
    """Of letters around its peak; may be empty."""
    fires_on_both: bool
    """Whether it fires on both partners of pairs, for certain."""


def describe(
    findings: Sequence[Finding], families: Mapping[str, str], look: Look | None = None
) -> Sentence:
    """Returns the label: "fires on G in hairpin loops of tRNA (RF00005)".

    Where nothing holds for most firings, what holds far more often than by chance is
    said as just that: "more often in bulges (2.1x), in tRNA (1.6x for its length)";
    without even that, how it looks: "fires on single nucleotides, around gGNRA".

    Args:
        findings: those that tell the most first.
        families: names of families by accession.
        look: what is said where findings are silent; None to say nothing then.
    """
    named: dict[str, Finding] = {}
    for finding in findings:
        known = named.get(finding.kind)
        # "Gene;tRNA" rather than "Gene", of which there are always more.
        if _is_named(finding.precision, finding.base, finding.kind) and (
            known is None or finding.label.startswith(known.label)
        ):
            named[finding.kind] = finding
    _drop_weaker(named)
    both = ", on both partners of pairs" if look and look.fires_on_both else ""
    if named:
        said = [named[kind] for kind in _SAID if kind in named]
        places = [_place(each, families) for each in said]
        if len(places) > 1 and said[-1].kind in _NAMED_PRECISION:
            places[-1] = places[-1].replace("in ", "of ", 1)
        return Sentence(" ".join(["fires", *places]) + both, _hold(said, _is_named))
    leanings: dict[str, Finding] = {}
    for finding in findings:
        if finding.enrichment >= _NAMED_ENRICHMENT:
            leanings.setdefault(finding.kind, finding)
    _drop_weaker(leanings)
    if leanings:
        said = list(leanings.values())[:_LEANINGS]
        places = [f"{_place(each, families)} ({_times(each)})" for each in said]
        return Sentence(f"more often {', '.join(places)}{both}", _hold(said, _leans))
    if look is None or look.shape not in _SHAPES:
        return Sentence("", float("nan"))
    how = _SHAPES[look.shape].format(run=look.run_length, period=look.period)
    around = f", around {look.consensus}" if look.consensus.strip(".") else ""
    return Sentence(f"fires {how}{around}{both}", float("nan"))


def _drop_weaker(said: dict[str, Finding]) -> None:
    """Takes out what another kind of label says already, and more."""
    for kind, less in _SAYS_MORE.items():
        if kind in said:
            for other in less:
                said.pop(other, None)


def _is_named(precision: Any, base: Any, kind: str) -> Any:
    """Returns whether it holds for most firings, and far more often than by chance.

    Of numbers, or of arrays of draws.
    """
    least = _NAMED_PRECISION.get(kind, _PRECISION)
    return (precision >= least) & (precision >= _NAMED_ENRICHMENT * base)


def _leans(precision: Any, base: Any, kind: str) -> Any:
    return precision >= _NAMED_ENRICHMENT * base


def _hold(said: Sequence[Finding], rule: Callable[[Any, Any, str], Any]) -> float:
    """Returns the share of draws in which a rule holds for all that is said."""
    holds = [rule(each.draws[0], each.draws[1], each.kind) for each in said]
    return float(np.logical_and.reduce(holds).mean())


def _times(finding: Finding) -> str:
    """Returns "2.1x", of labels of RNAs "2.1x for its length": RNAs of that length."""
    times = f"{finding.enrichment:.1f}x"
    return f"{times} for its length" if finding.kind in _NAMED_PRECISION else times


def _place(finding: Finding, families: Mapping[str, str]) -> str:
    name = finding.name
    if finding.kind == "nucleotide":
        return f"on {name}"
    if finding.kind == "kmer":
        return f"on the {name[1]} of {name}"
    if finding.kind == "tract":
        return f"in tracts of {name}"
    if finding.kind == "pair":
        return f"on {name[0]} paired with {name[1]}"
    if finding.kind == "loop":
        element, _, size = name.partition(" of ")
        return f"{_PLACES[element]} of {size} nt"
    if finding.kind == "structure":
        return _PLACES[name]
    if finding.kind == "family":
        known = families.get(name)
        return f"in {known} ({name})" if known else f"in {name}"
    if finding.kind == "clan":
        return f"in clan {name}"
    return f"in {name.rsplit(';', 1)[-1]}"

"""From an autoencoder of another tool to a dictionary's folder, if it is the same.

Nothing is written unless the imported autoencoder gives what the tool's own forward
pass gives on activations. Knows nothing of formats or of how results are shown.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from ribolex.dictionary import (
    FeatureTable,
    Identity,
    Manifest,
    Panel,
    Sae,
    Standardisation,
    Target,
    write_dictionary,
)
from ribolex.dictionary.artefact import CARD_FILE
from ribolex.errors import CorruptInputError, InvalidRequestError
from ribolex.lm import Hook, LanguageModel
from ribolex.registry import parse_ref
from ribolex.trainer.annotation import annotate
from ribolex.trainer.interchange.data import Place, Sample
from ribolex.trainer.interchange.source import Source
from ribolex.trainer.interchange.verify import (
    TOLERANCE,
    Agreement,
    Measures,
    compare,
    measure,
)
from ribolex.trainer.publish import make_panel

MAX_CUT = 0.001
"""Share of firings that a limit k chosen here may take away."""
UNKNOWN_LICENCE = "NOASSERTION"
"""What SPDX calls a licence that nobody stated."""

_COMPARED_ROWS, _MEASURED_ROWS, _TRIED_ROWS = 2048, 16_384, 1024
_BETTER, _NOTABLY = 0.8, 0.05
"""Another place, or a decoder the other way round, is better whose FVU is below this
share of the own, and by this much."""
_CROWDED = 0.1


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an imported dictionary is to be."""

    name: str
    place: Place
    k: int | None = None
    """Most features a nucleotide; None to go by the data."""
    licence: str = UNKNOWN_LICENCE


class Imported(NamedTuple):
    """What was imported, and how it does."""

    manifest: Manifest
    agreement: Agreement
    measures: Measures
    """With the limit k."""
    cut_share: float
    """Share of the firings that the limit k takes away."""
    warnings: tuple[str, ...]


def import_dictionary(
    source: Source, sample: Sample, lm: LanguageModel, plan: ImportPlan, path: Path
) -> Imported:
    """Writes a dictionary from an autoencoder of another tool.

    Args:
        source: as it was read.
        sample: activations of the place that it is for.
        lm: the model that it is for.
        plan: its name and place.
        path: the folder to be; not there yet.

    Raises:
        CorruptInputError: it does not give what the tool gives, or is of another
            width than the model, or its decoder is transposed.
        InvalidRequestError: the plan does not fit the source.
        DictionaryExistsError: something is at `path`.
    """
    _check_plan(source, plan, lm)
    agreement = compare(source, sample.x[:_COMPARED_ROWS])
    if not agreement.is_exact:
        message = (
            f"{source.tool}: imported weights do not give what its own code gives: "
            f"codes are off by {agreement.codes:.2g}, what is rebuilt by "
            f"{agreement.rebuilt:.2g}, expected at most {TOLERANCE:g}"
        )
        raise CorruptInputError(source.files[-1], message)
    x, y = _rows(sample.x), None if sample.y is None else _rows(sample.y)
    # A transcoder's error is of its target; without one there is only its own input.
    free = measure(source.sae, x, y)
    if free.turned_fvu is not None and _is_better(free.turned_fvu, free.fvu):
        message = f"the decoder is transposed: FVU {free.fvu:.3g}, the other way round"
        message = f"{message} {free.turned_fvu:.3g}"
        raise CorruptInputError(source.files[-1], message)
    sae = replace(source.sae, k=_choose_k(source, sample, free, plan))
    found = measure(sae, x, y)
    cut = 0.0 if source.is_topk else free.cut_share(sae.k)
    warnings = tuple(_warnings(source, sample, lm, plan, found, sae, cut))
    identity = _identity(sae, sample, lm, plan, found)
    manifest = write_dictionary(
        path,
        name=plan.name,
        identity=identity,
        sae=sae,
        features=_features(sae, sample, x),
        panel=_panel(lm, sae, sample, identity, source),
        extras={CARD_FILE: _card(source, sample, plan, agreement, found).encode()},
    )
    return Imported(manifest, agreement, found, cut, warnings)


def _check_plan(source: Source, plan: ImportPlan, lm: LanguageModel) -> None:
    if parse_ref(plan.name).version is not None:
        raise InvalidRequestError("--name", f"{plan.name!r} names a version too")
    target = plan.place.target_layer
    if source.is_transcoder != (target is not None):
        message = f"{source.tool} is a transcoder; say which layer it rebuilds"
        if not source.is_transcoder:
            message = f"{source.tool} is no transcoder and rebuilds what it reads"
        raise InvalidRequestError("--target-layer", message)
    width = lm.config.d_model
    if (source.sae.d_in, source.sae.d_out) != (width, width):
        message = (
            f"{source.tool} reads {source.sae.d_in} and rebuilds {source.sae.d_out} "
            f"dimensions, expected {width}, the width of {lm.name}"
        )
        raise CorruptInputError(source.files[-1], message)
    if plan.k is not None and not 1 <= plan.k <= source.sae.n_features:
        limit = source.sae.n_features
        raise InvalidRequestError("--k", f"{plan.k} is not in 1 to {limit}")
    if source.is_topk and plan.k not in (None, source.sae.k):
        message = f"{plan.k}, but {source.tool} keeps {source.sae.k} features"
        raise InvalidRequestError("--k", message)


def _choose_k(source: Source, sample: Sample, free: Measures, plan: ImportPlan) -> int:
    if source.is_topk:
        return source.sae.k
    if plan.k is not None:
        return plan.k
    return free.limit(MAX_CUT) if sample.is_real else source.sae.n_features


def _rows(x: Float32[Tensor, "token width"]) -> Float32[Tensor, "row width"]:
    """Returns evenly chosen rows, the same ones of tensors of the same length."""
    step = max(1, -(-len(x) // _MEASURED_ROWS))
    return x[::step]


def _warnings(
    source: Source,
    sample: Sample,
    lm: LanguageModel,
    plan: ImportPlan,
    found: Measures,
    sae: Sae,
    cut: float,
) -> Iterator[str]:
    if not sample.is_real:
        yield (
            "no activations and no RNAs were given: random RNAs prove the algebra, and "
            "FVU, mean and weights for search are those of noise; give --rnas"
        )
        if not source.is_topk and plan.k is None:
            yield f"k is {sae.k}, every feature, for want of data; give --rnas or --k"
    if sample.activations is None:
        yield "features have no evidence and all weigh the same in search; give --rnas"
    if cut > MAX_CUT:
        yield f"k {sae.k} takes away {cut:.2%} of the firings"
    if source.is_transcoder and sample.y is None:
        yield "what it is to rebuild is not known here; FVU is of what it reads"
    elif found.fvu > 1:
        yield (
            f"FVU is {found.fvu:.3g}: worse than no dictionary at all. Usual causes: "
            "another layer or hook, standardisation or a scale left out"
        )
    if found.l0 > min(_CROWDED * sae.n_features, sae.d_in):
        yield (
            f"{found.l0:.0f} of {sae.n_features} features fire on a nucleotide; usual "
            "cause: a threshold left out"
        )
    if found.l0 < 1:
        yield (
            f"{found.l0:.2g} features fire on a nucleotide; usual causes: another "
            "layer or hook, a scale left out"
        )
    if sample.activations is not None:
        yield from _better_places(source, sample, lm, plan, sae)


def _better_places(
    source: Source, sample: Sample, lm: LanguageModel, plan: ImportPlan, sae: Sae
) -> Iterator[str]:
    """Says at which other layer or hook an autoencoder does much better, if at any."""
    if source.is_transcoder:
        return
    chosen, n = [], 0
    for rna in sample.rnas:
        chosen.append(rna.sequence)
        n += len(rna.sequence)
        if n >= _TRIED_ROWS:
            break
    layers = range(1, lm.config.n_layers + 1)
    scores = {}
    for hook in get_args(Hook):
        found = lm.activations(chosen, layers, hook)
        for layer in layers:
            x = np.concatenate([each[layer] for each in found]).astype(np.float32)
            scores[layer, hook] = measure(sae, torch.from_numpy(x)).fvu
    (layer, hook), best = min(scores.items(), key=lambda score: score[1])
    own = scores[plan.place.layer, plan.place.hook]
    if _is_better(best, own):
        yield (
            f"layer {layer}, hook {hook}, fits better: FVU {best:.3g}, here {own:.3g}"
        )


def _is_better(fvu: float, own: float) -> bool:
    return fvu < min(_BETTER * own, own - _NOTABLY)


def _identity(
    sae: Sae, sample: Sample, lm: LanguageModel, plan: ImportPlan, found: Measures
) -> Identity:
    place, target = plan.place, None
    if place.target_layer is not None:
        y = sample.x if sample.y is None else sample.y
        target = Target(place.target_layer, place.is_difference, _standard(y))
    return Identity(
        lm_name=lm.name,
        lm_digest=lm.digest,
        layer=place.layer,
        hook=place.hook,
        level="nucleotide",
        kind="transcoder" if target else "sae",
        activation=sae.architecture,
        k=sae.k,
        d_in=sae.d_in,
        n_features=sae.n_features,
        standardisation=_standard(sample.x),
        training_data="",
        seed=0,
        licence=plan.licence,
        metrics={
            "fvu": found.fvu,
            "l0": found.l0,
            "dead_fraction": found.dead_fraction,
            "dense_fraction": found.dense_fraction,
            "n_nucleotides": float(found.n_nucleotides),
        },
        target=target,
    )


def _standard(x: Float32[Tensor, "token width"]) -> Standardisation:
    """Returns the mean that FVU is measured from; nothing is left to be scaled."""
    mean = x.double().mean(0).float()
    return Standardisation(tuple(mean.tolist()), (1.0,) * len(mean))


def _features(sae: Sae, sample: Sample, x: Float32[Tensor, "row d_in"]) -> FeatureTable:
    if sample.activations is not None:
        return annotate(sae, sample.activations, sample.rnas, lambda *_: None)
    blank = FeatureTable.blank(sae.n_features)
    ones = np.ones(sae.n_features, np.float32)
    if not sample.is_real:
        return replace(blank, idf=ones)
    codes = sae.encode(x)
    fires = codes.values > 0
    ids, values = codes.indices[fires].numpy(), codes.values[fires].numpy()
    count = np.bincount(ids, minlength=sae.n_features)
    sums = np.bincount(ids, values, minlength=sae.n_features)
    largest = np.zeros(sae.n_features, np.float32)
    np.maximum.at(largest, ids, values)
    return replace(
        blank,
        density=(count / len(x)).astype(np.float32),
        mean_activation=(sums / np.maximum(count, 1)).astype(np.float32),
        max_activation=largest,
        idf=ones,
    )


def _panel(
    lm: LanguageModel, sae: Sae, sample: Sample, identity: Identity, source: Source
) -> Panel:
    panel = make_panel(lm, sae, sample.rnas, identity)
    if not len(panel.codes.indices):
        message = (
            f"{source.tool}: no feature fires on the RNAs that every server would "
            "check it with; another layer or hook, or a scale left out?"
        )
        raise CorruptInputError(source.files[-1], message)
    return panel


def _card(
    source: Source,
    sample: Sample,
    plan: ImportPlan,
    agreement: Agreement,
    found: Measures,
) -> str:
    lines = [f"# {plan.name}", "", f"Imported from {source.tool}.", ""]
    if source.place:
        lines.append(f"- its files say that it is of: {source.place}")
    lines += [f"- {note}" for note in source.notes]
    lines += [
        f"- `{file.name}`: SHA-256 {hashlib.sha256(file.read_bytes()).hexdigest()}"
        for file in source.files
    ]
    lines += [
        "",
        f"On {found.n_nucleotides:,} nucleotides ({sample.origin}): "
        f"FVU {found.fvu:.4f}, L0 {found.l0:.1f}, dead {found.dead_fraction:.1%}, "
        f"dense {found.dense_fraction:.1%}. Against the tool's own forward pass: codes "
        f"off by {agreement.codes:.1e}, what is rebuilt by {agreement.rebuilt:.1e}.",
    ]
    return "\n".join(lines) + "\n"

"""Features made to fire otherwise: what is then added to the activations of a layer.

With f the value of a feature and f' the one that it is to have, f' - f times the
feature's decoder row is added to the activation. All else of the activation stays, what
the dictionary cannot rebuild of it included, so that with f' = f nothing changes (so
steer Templeton et al. 2024, "Scaling Monosemanticity"). Knows nothing of what the
model makes of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from ribolex.dictionary.artefact import Dictionary
from ribolex.dictionary.sae import Sae
from ribolex.errors import FeatureNotFoundError, InvalidRequestError
from ribolex.lm import Replacement

Action = Literal["scale", "clamp"]


@dataclass(frozen=True, slots=True)
class Intervention:
    """One feature that is to have another value."""

    feature: int
    action: Action
    """"scale": its value is multiplied with the amount, 0 ablates it; "clamp": it has
    the amount as its value, whether it fires or not."""
    amount: float
    positions: tuple[int, ...] = ()
    """Nucleotides, 0-based; none of them means all."""


def check_interventions(
    interventions: Sequence[Intervention], dictionary: Dictionary, n_nucleotides: int
) -> None:
    """Does nothing if interventions fit a dictionary and an RNA.

    Raises:
        FeatureNotFoundError: there is no such feature.
        InvalidRequestError: an amount is not finite, a clamped one below 0, a position
            outside, or two are about one feature.
    """
    for i, one in enumerate(interventions):
        where = f"interventions[{i}]"
        if not 0 <= one.feature < dictionary.sae.n_features:
            n_features = dictionary.sae.n_features
            raise FeatureNotFoundError(one.feature, dictionary.ref, n_features)
        least = 0.0 if one.action == "clamp" else -np.inf
        if not (np.isfinite(one.amount) and one.amount >= least):
            raise InvalidRequestError(
                f"{where}.{one.action}",
                f"{one.amount:g}, expected a number{' >= 0' if least == 0 else ''}",
            )
        for position in one.positions:
            if not 0 <= position < n_nucleotides:
                raise InvalidRequestError(
                    f"{where}.positions",
                    f"{position}, expected 0 to {n_nucleotides - 1}",
                )
    if len({one.feature for one in interventions}) < len(interventions):
        raise InvalidRequestError("interventions", "expected each feature once")


def values_of(
    sae: Sae, x: Float[Tensor, "token d_in"], features: Sequence[int]
) -> Float32[Tensor, "feature token"]:
    """Returns the values of some features; 0 where they do not fire."""
    top = sae.encode(x)
    found = [(top.values * (top.indices == feature)).sum(1) for feature in features]
    return torch.stack(found) if found else x.new_zeros((0, len(x)))


def directions_of(
    sae: Sae, interventions: Sequence[Intervention]
) -> Float32[Tensor, "feature d_in"]:
    """Returns the decoder row of each."""
    features = [one.feature for one in interventions]
    return sae.W_dec[torch.tensor(features, dtype=torch.int64)]


def random_directions(
    rows: Float32[Tensor, "feature d_in"], seed: Sequence[int]
) -> Float32[Tensor, "feature d_in"]:
    """Returns a random direction of each row's length: the control of steering."""
    drawn = np.random.default_rng(list(seed)).standard_normal(tuple(rows.shape))
    found = torch.from_numpy(drawn).to(rows)
    out: Tensor = found * (rows.norm(dim=1) / found.norm(dim=1))[:, None]
    return out


def steered(
    x: Float[Tensor, "token d_in"],
    values: Float32[Tensor, "feature token"],
    interventions: Sequence[Intervention],
    directions: Float32[Tensor, "feature d_in"],
    places: Int[np.ndarray, " token"] | None = None,
) -> Float[Tensor, "token d_in"]:
    """Returns activations with features as they are to be.

    Args:
        x: activations; not changed.
        values: `values_of` the features in them.
        interventions: on these features.
        directions: what is added for each: `directions_of`, or a control.
        places: of each activation in its RNA; None if positions do not matter.
    """
    change = torch.empty_like(values)
    for row, before, one in zip(change, values, interventions, strict=True):
        wanted = before * one.amount if one.action == "scale" else one.amount
        row.copy_(wanted - before)
        if places is not None and one.positions:
            is_other = torch.from_numpy(~np.isin(places, one.positions))
            row[is_other.to(row.device)] = 0.0
    return x + (change.T @ directions).to(x.dtype)


def steering(
    dictionary: Dictionary, interventions: Sequence[Intervention]
) -> Replacement:
    """Returns what `LanguageModel.logits` takes to run with features as they are to be.

    Args:
        dictionary: of the model, its autoencoder on the model's device.
        interventions: at all nucleotides of all RNAs.

    Raises:
        FeatureNotFoundError: there is no such feature.
        InvalidRequestError: they are not as `check_interventions` wants them, or are
            about some nucleotides only.
    """
    check_interventions(interventions, dictionary, 0)
    layer, hook = dictionary.identity.layer, dictionary.identity.hook
    directions = directions_of(dictionary.sae, interventions)
    features = [one.feature for one in interventions]
    return Replacement(
        layer,
        layer,
        hook,
        lambda x: steered(
            x, values_of(dictionary.sae, x, features), interventions, directions
        ),
    )

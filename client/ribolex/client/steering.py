"""Steering: the call, and its messages to values of ours and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ribolex.client import convert, records
from ribolex.client.ask import Ask, blocking
from ribolex.client.connection import Connection
from ribolex.client.errors import InvalidRequestError
from ribolex.v1 import steering_pb2

Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Intervention:
    """One feature that is to have another value; give one of scale and clamp."""

    feature: int
    scale: float | None = None
    """Multiplies its value: 0 ablates it, 1 changes nothing."""
    clamp: float | None = None
    """The value that it has, whether it fires or not."""
    positions: Sequence[int] = ()
    """Nucleotides to do it in, counted from 0; none of them means all."""


@dataclass(frozen=True, slots=True, eq=False)
class SteeredFeature:
    """A feature before it was made to fire otherwise."""

    feature: int
    label: str
    values: Numbers
    """[nucleotide]."""


@dataclass(frozen=True, slots=True, eq=False)
class Steered:
    """What the language model expects, before and after; all in nats."""

    dictionary: records.DictionaryRef
    sequence: str
    """As the server read it."""
    before: Numbers
    """[nucleotide, 4] log p of A, C, G and U, as the model is."""
    after: Numbers
    """The same with the features as they are to be."""
    divergence: Numbers
    """[nucleotide] Kullback-Leibler divergence of after from before."""
    control_mean: Numbers | None
    """[nucleotide] Mean divergence by random directions of the same lengths; None
    without controls."""
    control_max: Numbers | None
    features: tuple[SteeredFeature, ...]
    timing: records.Timing


class SteeringCalls(Connection):
    """What of EncoderService is for admins who look into the model."""

    @blocking
    def steer(
        self,
        sequence: str,
        interventions: Sequence[Intervention],
        *,
        dictionary: str | records.DictionaryRef | None = None,
        hidden: Sequence[int] = (),
        n_controls: int = 4,
        seed: int = 0,
    ) -> Ask[Steered]:
        """Makes features fire otherwise; returns what the model then expects.

        For research: the server must have been started with --steering, and a token
        must have the scope of admins.

        Args:
            sequence: the RNA.
            interventions: 1 to 64, each feature once, all at once.
            dictionary: "name", "name@version", or None for the server's default.
            hidden: nucleotides hidden from the model, counted from 0: of those only it
                says what it expects without knowing it.
            n_controls: runs with random directions; at most 64.
            seed: of these directions.

        Raises:
            NotPermittedError: the server was not started so, or the token does not
                reach so far.
            FeatureNotFoundError: the dictionary has no such feature.
            InvalidRequestError: the sequence or an option is none.
        """
        if n_controls < 0 or seed < 0 or min(hidden, default=0) < 0:
            raise InvalidRequestError("hidden, n_controls, seed: expected 0 or more")
        request = steering_pb2.SteerRequest(
            sequence=convert.sendable(sequence, "sequence"),
            dictionary=convert.dictionary_ref_to_pb(dictionary),
            interventions=[
                _intervention(one, f"interventions[{i}]")
                for i, one in enumerate(interventions)
            ],
            hidden=hidden,
            n_controls=n_controls,
            seed=seed,
        )
        return Ask(self._encoder.Steer, request, _steered)


def _intervention(one: Intervention, where: str) -> steering_pb2.Intervention:
    if (one.scale is None) == (one.clamp is None):
        raise InvalidRequestError(f"{where}: expected one of scale and clamp")
    if one.feature < 0 or min(one.positions, default=0) < 0:
        raise InvalidRequestError(f"{where}: expected a feature and positions >= 0")
    message = steering_pb2.Intervention(feature=one.feature, positions=one.positions)
    if one.scale is not None:
        message.scale = one.scale
    elif one.clamp is not None:
        message.clamp = one.clamp
    return message


def _steered(message: steering_pb2.SteerResponse) -> Steered:
    return Steered(
        dictionary=convert.dictionary_ref(message.dictionary),
        sequence=message.sequence,
        before=_numbers(message.before).reshape(-1, 4),
        after=_numbers(message.after).reshape(-1, 4),
        divergence=_numbers(message.divergence),
        control_mean=_numbers(message.control_mean) if message.control_mean else None,
        control_max=_numbers(message.control_max) if message.control_max else None,
        features=tuple(
            SteeredFeature(one.feature, one.label, _numbers(one.values))
            for one in message.features
        ),
        timing=convert.timing(message.timing),
    )


def _numbers(packed: bytes) -> Numbers:
    return np.frombuffer(packed, "<f4").astype(np.float32)

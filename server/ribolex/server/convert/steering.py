"""Messages of steering.proto: interventions in, what the model expects out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from ribolex.dictionary import Dictionary
from ribolex.dictionary.steering import Action, Intervention, check_interventions
from ribolex.errors import InvalidRequestError
from ribolex.server.convert import codes as convert
from ribolex.server.engine.encoding import read_sequence
from ribolex.server.engine.scoring import LetterTable
from ribolex.server.engine.steering import Steered
from ribolex.v1 import steering_pb2

_MAX_INTERVENTIONS = 64
_DEFAULT_CONTROLS, _MAX_CONTROLS = 4, 64


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done to one RNA."""

    text: str
    """As read."""
    interventions: tuple[Intervention, ...]
    hidden: tuple[int, ...]
    n_controls: int
    seed: int


def decode_order(
    request: steering_pb2.SteerRequest, dictionary: Dictionary, max_nucleotides: int
) -> Order:
    """Returns what is to be done.

    Raises:
        InvalidRequestError: names the field.
        FeatureNotFoundError: the dictionary has no such feature.
    """
    text = read_sequence(request.sequence, "sequence", max_nucleotides, degap=False)
    if not 1 <= len(request.interventions) <= _MAX_INTERVENTIONS:
        raise InvalidRequestError(
            "interventions",
            f"{len(request.interventions)}, expected 1 to {_MAX_INTERVENTIONS}",
        )
    interventions = tuple(
        _intervention(one, f"interventions[{i}]")
        for i, one in enumerate(request.interventions)
    )
    check_interventions(interventions, dictionary, len(text))
    for position in request.hidden:
        if position >= len(text):
            raise InvalidRequestError(
                "hidden", f"{position}, expected 0 to {len(text) - 1}"
            )
    n_controls = _DEFAULT_CONTROLS
    if request.HasField("n_controls"):
        n_controls = convert.decode_count(
            request.n_controls, "n_controls", default=0, limit=_MAX_CONTROLS
        )
    hidden = tuple(sorted(set(request.hidden)))
    return Order(text, interventions, hidden, n_controls, request.seed)


def _intervention(message: steering_pb2.Intervention, where: str) -> Intervention:
    kind = message.WhichOneof("action")
    if kind is None:
        raise InvalidRequestError(where, "expected scale or clamp")
    action: Action = kind
    amount = message.scale if action == "scale" else message.clamp
    positions = tuple(sorted(set(message.positions)))
    return Intervention(message.feature, action, amount, positions)


def encode_steered(
    order: Order,
    before: LetterTable,
    after: Steered,
    controls: Sequence[LetterTable],
    dictionary: Dictionary,
) -> steering_pb2.SteerResponse:
    """Returns what the model expects, before and after."""
    response = steering_pb2.SteerResponse(
        dictionary=convert.encode_ref(dictionary.name, dictionary.version),
        sequence=order.text,
        before=_packed(before),
        after=_packed(after.letters),
        divergence=_packed(divergence(before, after.letters)),
        features=[
            steering_pb2.SteeredFeature(
                feature=one.feature,
                label=dictionary.features.label[one.feature],
                values=_packed(values),
            )
            for one, values in zip(order.interventions, after.values, strict=True)
        ],
    )
    if controls:
        found = np.stack([divergence(before, one) for one in controls])
        response.control_mean = _packed(found.mean(0))
        response.control_max = _packed(found.max(0))
    return response


def divergence(before: LetterTable, after: LetterTable) -> Float32[np.ndarray, " nt"]:
    """Returns Kullback and Leibler's divergence at each nucleotide, >= 0, in nats."""
    first, second = before.astype(np.float64), after.astype(np.float64)
    found = (np.exp(first) * (first - second)).sum(1)
    out: Float32[np.ndarray, " nt"] = np.maximum(found, 0).astype(np.float32)
    return out


def _packed(array: Float32[np.ndarray, "..."]) -> bytes:
    return np.ascontiguousarray(array, "<f4").tobytes()

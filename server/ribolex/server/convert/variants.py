"""Messages of variants.proto: a scan in, the effects of its variants out."""

from collections.abc import Callable
from dataclasses import dataclass

from ribolex.dictionary import Dictionary
from ribolex.errors import InvalidRequestError, SequenceTooLongError
from ribolex.rna.variants import (
    LETTERS,
    Variant,
    parse_variant,
    saturation,
    variant_of,
)
from ribolex.server.convert import codes as convert
from ribolex.server.effects import Effect, FeatureEffect, Look, Reference
from ribolex.server.engine.encoding import read_sequence
from ribolex.server.engine.scoring import Scored
from ribolex.server.engine.task import cost
from ribolex.v1 import codes_pb2, variants_pb2

_DEFAULT_REACH, _MAX_REACH = 10, 100_000
_DEFAULT_FEATURES, _MAX_FEATURES = 8, 1000


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a scan may take."""

    max_nucleotides: int
    """Of one sequence."""
    max_tokens: int
    """Of all that the model reads."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A reference, its variants, and what to tell of them."""

    reference: str
    """As read."""
    look: Look
    n_variants: int
    n_tokens: int
    """That the model will read, about; variants that are refused included."""
    make: Callable[[int], Variant]
    """Gives a variant by its number, or raises an InvalidRequestError that says what
    is wrong with it."""


def decode_scan(request: variants_pb2.ScanVariantsRequest, bounds: Bounds) -> Scan:
    """Returns what is to be scanned; its dictionary and k are not looked at.

    Raises:
        InvalidRequestError: names the field; or it would take too much.
        InvalidSequenceError: the reference is none.
        SequenceTooLongError: it is too long.
    """
    n_kinds = bool(request.variants) + bool(request.alternative_sequences)
    if n_kinds + request.HasField("saturation") != 1:
        raise InvalidRequestError(
            "variants",
            "expected exactly one of variants, alternative_sequences and saturation",
        )
    look = _decode_look(request)
    text = read_sequence(
        request.sequence, "sequence", bounds.max_nucleotides, degap=False
    )
    if request.HasField("saturation"):
        return _saturated(request.saturation, text, look, bounds)
    given = list(request.variants or request.alternative_sequences)
    # Each may hide other nucleotides of the reference.
    n_tokens = len(given) * cost(len(text))
    if request.variants:
        n_tokens *= 2
    else:
        n_tokens += sum(cost(max(1, len(one))) for one in given)
    _check_tokens(len(given), n_tokens, bounds)

    def make(i: int) -> Variant:
        if request.variants:
            where = f"variants[{i}]"
            variant = parse_variant(given[i], text, where)
        else:
            where = f"alternative_sequences[{i}]"
            other = read_sequence(given[i], where, bounds.max_nucleotides, degap=False)
            variant = variant_of(other, text, where)
        if len(variant.sequence) > bounds.max_nucleotides:
            got = len(variant.sequence)
            raise SequenceTooLongError(where, bounds.max_nucleotides, got)
        return variant

    return Scan(text, look, len(given), n_tokens, make)


def _decode_look(request: variants_pb2.ScanVariantsRequest) -> Look:
    reach, n_features = _DEFAULT_REACH, _DEFAULT_FEATURES
    if request.HasField("reach"):
        reach = convert.decode_count(
            request.reach, "reach", default=0, limit=_MAX_REACH
        )
    if request.HasField("max_features"):
        n_features = convert.decode_count(
            request.max_features, "max_features", default=0, limit=_MAX_FEATURES
        )
    return Look(reach, n_features, request.with_position_changes)


def _saturated(
    message: variants_pb2.Saturation, text: str, look: Look, bounds: Bounds
) -> Scan:
    stop = message.stop or len(text)
    if not message.start < stop <= len(text):
        raise InvalidRequestError(
            "saturation",
            f"{message.start} to {stop}, expected a range within 0 to {len(text)}",
        )
    n_places = stop - message.start
    n_known = sum(letter in LETTERS for letter in text[message.start : stop])
    n_variants = len(LETTERS) * n_places - n_known
    n_tokens = (n_variants + n_places) * cost(len(text))
    _check_tokens(n_variants, n_tokens, bounds)
    variants = list(saturation(text, message.start, stop))
    return Scan(text, look, n_variants, n_tokens, variants.__getitem__)


def _check_tokens(n_variants: int, n_tokens: int, bounds: Bounds) -> None:
    if n_tokens > bounds.max_tokens:
        raise InvalidRequestError(
            "variants",
            f"{n_variants} of them, about {n_tokens} tokens to read, expected at most "
            f"{bounds.max_tokens} (--max-scan-tokens): scan a part of the RNA, or "
            "fewer variants",
        )


def encode_header(
    scan: Scan, reference: Reference, scored: Scored, dictionary: Dictionary
) -> variants_pb2.ScanHeader:
    """Returns what holds for all variants."""
    return variants_pb2.ScanHeader(
        dictionary=convert.encode_ref(dictionary.name, dictionary.version),
        sequence=scan.reference,
        n_variants=scan.n_variants,
        reach=scan.look.reach,
        fvu=scored.encoding.fvu,
        code_sum=float(scored.codes.values.sum()),
        log_likelihood=reference.log_likelihood,
    )


def encode_result(
    index: int, outcome: Effect | InvalidRequestError, dictionary: Dictionary
) -> variants_pb2.VariantResult:
    """Returns what became of a variant."""
    if isinstance(outcome, InvalidRequestError):
        rejection: codes_pb2.Rejection = convert.encode_rejection(outcome)
        return variants_pb2.VariantResult(index=index, rejection=rejection)
    effect = variants_pb2.VariantEffect(
        changes=outcome.variant.text,
        positions=outcome.variant.changed().tolist(),
        masked_marginal=outcome.masked_marginal,
        log_likelihood_ratio=outcome.log_likelihood_ratio,
        **outcome.gains._asdict(),
        features=[_feature(one, dictionary) for one in outcome.features],
    )
    if outcome.position_changes is not None:
        effect.position_changes = outcome.position_changes.astype("<f4").tobytes()
    return variants_pb2.VariantResult(index=index, effect=effect)


def _feature(one: FeatureEffect, dictionary: Dictionary) -> variants_pb2.FeatureChange:
    return variants_pb2.FeatureChange(
        feature=one.feature,
        label=dictionary.features.label[one.feature],
        **one.gains._asdict(),
        positions=one.positions.tolist(),
        changes=one.changes.tolist(),
    )

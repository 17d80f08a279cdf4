"""Messages of dictionary.proto about which version is used: changes, requests."""

from ribolex.errors import InvalidRequestError
from ribolex.registry import PinnedRef
from ribolex.server.convert import codes as convert
from ribolex.server.watching import Change, ChangeKind
from ribolex.v1 import codes_pb2, dictionary_pb2

_KINDS: dict[ChangeKind, dictionary_pb2.DictionaryChange.ValueType] = {
    "serving": dictionary_pb2.DICTIONARY_CHANGE_SERVING,
    "kept": dictionary_pb2.DICTIONARY_CHANGE_KEPT,
    "loaded": dictionary_pb2.DICTIONARY_CHANGE_LOADED,
    "activated": dictionary_pb2.DICTIONARY_CHANGE_ACTIVATED,
    "refused": dictionary_pb2.DICTIONARY_CHANGE_REFUSED,
    "retired": dictionary_pb2.DICTIONARY_CHANGE_RETIRED,
}


def encode_change(change: Change) -> dictionary_pb2.WatchResponse:
    """Returns what became of a version."""
    return dictionary_pb2.WatchResponse(
        change=_KINDS[change.kind],
        dictionary=convert.encode_ref(change.name, change.version),
        content_id=change.content_id,
        reason=change.reason,
        time_s=change.time_s,
    )


def decode_pinned(ref: codes_pb2.DictionaryRef) -> PinnedRef:
    """Returns name and version, both of which must be there.

    Raises:
        InvalidRequestError: one is not.
    """
    if not ref.name:
        raise InvalidRequestError("dictionary.name", "expected a name, none came")
    if not ref.version:
        raise InvalidRequestError("dictionary.version", "expected a version, got 0")
    return PinnedRef(ref.name, ref.version)

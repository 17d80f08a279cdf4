"""Who may call what: a scope for each method, and the tokens that reach it.

Knows methods by their full names, and nothing of what any of them does.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from ribolex.errors import NotAuthenticatedError, NotPermittedError
from ribolex.server.tokens import SCOPES, Scope, match, read_tokens

_LOG = logging.getLogger(__name__)

METHOD_SCOPES: Mapping[str, Scope] = {
    "/ribolex.v1.EncoderService/Encode": "read",
    "/ribolex.v1.EncoderService/EncodeStream": "read",
    "/ribolex.v1.EncoderService/Embed": "read",
    "/ribolex.v1.EncoderService/ScanVariants": "read",
    "/ribolex.v1.EncoderService/Steer": "admin",
    "/ribolex.v1.CollectionService/CreateCollection": "write",
    "/ribolex.v1.CollectionService/GetCollection": "read",
    "/ribolex.v1.CollectionService/ListCollections": "read",
    "/ribolex.v1.CollectionService/DeleteCollection": "write",
    "/ribolex.v1.CollectionService/Snapshot": "admin",
    "/ribolex.v1.CollectionService/Restore": "admin",
    "/ribolex.v1.CollectionService/Reindex": "admin",
    "/ribolex.v1.CollectionService/EndReindex": "admin",
    "/ribolex.v1.CollectionService/UpsertRnas": "write",
    "/ribolex.v1.CollectionService/GetRna": "read",
    "/ribolex.v1.CollectionService/ListRnas": "read",
    "/ribolex.v1.CollectionService/DeleteRnas": "write",
    "/ribolex.v1.CollectionService/SearchSimilar": "read",
    "/ribolex.v1.CollectionService/SearchSimilarStream": "read",
    "/ribolex.v1.CollectionService/SearchFeatures": "read",
    "/ribolex.v1.CollectionService/Align": "read",
    "/ribolex.v1.CollectionService/CompareGroups": "read",
    "/ribolex.v1.DictionaryService/ListDictionaries": "read",
    "/ribolex.v1.DictionaryService/ListFeatures": "read",
    "/ribolex.v1.DictionaryService/GetFeature": "read",
    "/ribolex.v1.DictionaryService/NearestFeatures": "read",
    "/ribolex.v1.DictionaryService/MapFeatures": "read",
    "/ribolex.v1.DictionaryService/Watch": "read",
    "/ribolex.v1.DictionaryService/Activate": "admin",
    "/ribolex.v1.DictionaryService/Rollback": "admin",
    "/ribolex.v1.DictionaryService/Retire": "admin",
}
"""The least scope for each method of ours; health and reflection are open."""

_SCHEME = "bearer "
_MAX_SECRET = 512


class Auth:
    """Tells who calls, and refuses who may not. For one event loop.

    Without a file of tokens everybody may do everything.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path | None) -> None:
        """Reads the file.

        Raises:
            CorruptInputError: it is no file of tokens.
            OSError: it cannot be read.
        """
        self.path = path
        self._tokens = read_tokens(path) if path is not None else ()

    def reload(self) -> None:
        """Reads the file again; raises as at first, and then goes on as before."""
        if self.path is not None:
            self._tokens = read_tokens(self.path)
            _LOG.info("tokens read, n_tokens %d", len(self._tokens))

    def check(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        """Returns the name of the token that a call came with; "" if none is needed.

        Raises:
            NotAuthenticatedError: it came with none, or with an unknown one.
            NotPermittedError: its scope does not reach so far.
        """
        if self.path is None or not method.startswith("/ribolex."):
            return ""
        token = match(_secret(metadata), self._tokens)
        if token is None:
            raise NotAuthenticatedError("the token is not known here; was it revoked?")
        # What nobody gave a scope is for admins alone.
        expected = METHOD_SCOPES.get(method, "admin")
        if SCOPES.index(token.scope) < SCOPES.index(expected):
            raise NotPermittedError(method, token.name, token.scope, expected)
        return token.name


def _secret(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    sent = [value for key, value in metadata if key == "authorization"]
    if not sent:
        raise NotAuthenticatedError('expected "Bearer TOKEN", none came')
    header = sent[0]
    if len(sent) > 1 or not isinstance(header, str):
        raise NotAuthenticatedError(f"{len(sent)} came, expected one")
    if not header.lower().startswith(_SCHEME) or len(header) > _MAX_SECRET:
        raise NotAuthenticatedError('expected "Bearer TOKEN", something else came')
    return header[len(_SCHEME) :].strip()

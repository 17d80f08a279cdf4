"""Calls about stored RNAs that need no model: a page of them, and their end."""

from __future__ import annotations

from functools import partial

from ribolex.errors import InvalidRequestError
from ribolex.server.convert import codes as convert
from ribolex.server.convert.collection import encode_rna
from ribolex.server.convert.search import decode_conditions
from ribolex.server.index.collection import Collection
from ribolex.server.index.metadata import Condition
from ribolex.server.index.records import Removal
from ribolex.server.services.gate import Backend
from ribolex.v1 import collection_pb2

_MAX_PAGE = 1_000_000
"""Letters of the RNAs of one page."""
_MAX_NAMES = 10_000
_GROUP = 1024
"""RNAs deleted in one transaction by conditions; searches go between two of them."""


async def list_rnas(
    backend: Backend, request: collection_pb2.ListRnasRequest
) -> collection_pb2.ListRnasResponse:
    """Returns a page of the RNAs of a collection.

    Raises:
        InvalidRequestError: names the field.
        CollectionNotFoundError: there is no such collection.
    """
    page = convert.decode_page(request.page_size, request.page_token)
    where = decode_conditions(request.where)
    listed = await backend.collections.run(
        request.collection,
        lambda collection: collection.list_rnas(
            where, page.after, page.size, _MAX_PAGE
        ),
    )
    return collection_pb2.ListRnasResponse(
        rnas=map(encode_rna, listed.rnas),
        next_page_token="" if listed.is_last else listed.rnas[-1].name,
        n_rnas=listed.n_rnas,
    )


async def delete_rnas(
    backend: Backend, request: collection_pb2.DeleteRnasRequest
) -> collection_pb2.DeleteRnasResponse:
    """Deletes RNAs of a collection, and returns how many there were.

    Raises:
        InvalidRequestError: names the field.
        CollectionNotFoundError: there is no such collection.
    """
    where = decode_conditions(request.where)
    if bool(where) == bool(request.names):
        raise InvalidRequestError("names", "expected either names or conditions")
    if len(request.names) > _MAX_NAMES:
        raise InvalidRequestError(
            "names", f"{len(request.names)} of them, expected at most {_MAX_NAMES}"
        )
    if where:
        n_deleted = await _delete_where(backend, request.collection, where)
    else:
        removal = Removal(request.names)
        written = await backend.collections.write(request.collection, removal)
        n_deleted = written.n_deleted
    return collection_pb2.DeleteRnasResponse(n_deleted=n_deleted)


async def _delete_where(
    backend: Backend, name: str, where: tuple[Condition, ...]
) -> int:
    """Deletes group after group, so that others are answered in between."""
    n_deleted, n_latest = 0, _GROUP
    delete = partial(Collection.delete_where, where=where, limit=_GROUP)
    while n_latest == _GROUP:
        try:
            n_latest = await backend.collections.change(name, delete)
        except InvalidRequestError:
            if not n_deleted:
                raise
            break  # the last RNA that had such a key is gone
        n_deleted += n_latest
    return n_deleted

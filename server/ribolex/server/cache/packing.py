"""Encodings as bytes: a version, a checksum, and packed arrays.

The checksum goes over the key as well, so that what was stored under another one is
not taken. Knows nothing of where bytes are kept.
"""

import struct
from hashlib import blake2b

import numpy as np

from ribolex.dictionary import Codes, SequenceCode
from ribolex.server.engine.encoding import Encoding

_VERSION = b"\x01"
_N_DIGEST = 8
_HEAD = struct.Struct("<BIIIId")
"""Flags, n_features, rows, entries, entries of the pooled code, FVU."""
_HAS_POOLED = 1
_MAX_NARROW = 0xFFFF


def pack(key: bytes, encoding: Encoding) -> bytes:
    """Returns an encoding as bytes that `unpack` makes the same of, to the bit."""
    codes, pooled = encoding.codes, encoding.pooled
    dtype = _index_type(codes.n_features)
    head = _HEAD.pack(
        _HAS_POOLED if pooled is not None else 0,
        codes.n_features,
        len(codes),
        len(codes.indices),
        0 if pooled is None else len(pooled.indices),
        encoding.fvu,
    )
    parts = [head]
    if len(codes.indices):  # rows that nobody asked for are all empty
        parts.append(np.diff(codes.indptr).astype(dtype).tobytes())
    for indices, values in filter(None, [(codes.indices, codes.values), pooled]):
        parts += [indices.astype(dtype).tobytes(), values.astype("<f4").tobytes()]
    body = b"".join(parts)
    return b"".join([_VERSION, _checksum(key, body), body])


def unpack(key: bytes, packed: bytes) -> Encoding | None:
    """Returns the encoding that was packed under a key; None if it is not that."""
    start = len(_VERSION) + _N_DIGEST
    body = memoryview(packed)[start:]
    if packed[:1] != _VERSION or packed[1:start] != _checksum(key, body):
        return None
    flags, n_features, n_rows, n_entries, n_pooled, fvu = _HEAD.unpack_from(body)
    reader = _Reader(body[_HEAD.size :], _index_type(n_features))
    counts = reader.indices(n_rows) if n_entries else np.zeros(n_rows, np.uint32)
    indptr = np.zeros(n_rows + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    codes = Codes(
        indptr, reader.indices(n_entries), reader.values(n_entries), n_features
    )
    pooled = None
    if flags & _HAS_POOLED:
        pooled = SequenceCode(reader.indices(n_pooled), reader.values(n_pooled))
    return Encoding(codes, pooled, fvu)


class _Reader:
    """Takes arrays off the front of bytes, as arrays of their own."""

    def __init__(self, packed: memoryview, index_type: np.dtype[np.unsignedinteger]):
        self._packed = packed
        self._index_type = index_type

    def indices(self, n: int) -> np.ndarray:
        return self._take(n, self._index_type).astype(np.uint32)

    def values(self, n: int) -> np.ndarray:
        return self._take(n, np.dtype("<f4")).astype(np.float32)

    def _take(self, n: int, dtype: np.dtype[np.generic]) -> np.ndarray:
        found = np.frombuffer(self._packed, dtype, n)
        self._packed = self._packed[n * dtype.itemsize :]
        return found


def _index_type(n_features: int) -> np.dtype[np.unsignedinteger]:
    return np.dtype("<u2") if n_features <= _MAX_NARROW else np.dtype("<u4")


def _checksum(key: bytes, body: bytes | memoryview) -> bytes:
    found = blake2b(key, digest_size=_N_DIGEST)
    found.update(body)
    return found.digest()

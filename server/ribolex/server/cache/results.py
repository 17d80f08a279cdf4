"""What the engine asks before it computes, and tells afterwards.

Knows what an encoding depends on; nothing of queues or messages.
"""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeGuard

from ribolex.server.cache.memory import MemoryCache
from ribolex.server.cache.packing import pack, unpack
from ribolex.server.cache.remote import RemoteCache
from ribolex.server.engine.encoding import EncodeTask, Encoding
from ribolex.server.metrics import Metrics

_SCHEME = "1"
"""To be raised whenever the same task is computed to other codes than before."""
_PACKED_HERE = 1 << 16
"""Entries that are packed on the event loop; more of them in a thread."""


class ResultCache:
    """Encodings by all that they depend on. For one event loop.

    Attributes:
        memory: Of this process; None if there is none.
        remote: Shared by servers; None if there is none.
    """

    def __init__(
        self,
        lm_digest: str,
        computed_by: str,
        memory: MemoryCache | None,
        remote: RemoteCache | None,
        metrics: Metrics,
    ) -> None:
        """Sets it up.

        Args:
            lm_digest: of the language model.
            computed_by: kind of device and precision: others round otherwise.
            memory: asked first.
            remote: asked for the rest.
            metrics: told of hits and misses, of each sequence.
        """
        self._model = f"{_SCHEME}\0{lm_digest}\0{computed_by}"
        self._metrics = metrics
        self.memory = memory
        self.remote = remote

    def key_of(self, task: EncodeTask) -> bytes:
        """Returns what is equal only for tasks of one outcome, 32 hexadecimal digits.

        It holds the digest of the sequence, not its letters.
        """
        recipe = task.recipe
        of = (
            f"{task.dictionary.content_id}\0{recipe.k}\0{recipe.pooling}\0{recipe.rows}"
        )
        key = blake2b(f"{self._model}\0{of}\0".encode(), digest_size=32)
        key.update(task.text.encode("ascii"))
        return key.hexdigest().encode()

    async def fetch(self, tasks: Sequence[Any]) -> dict[int, Any]:
        """Returns what is known of some tasks, by their places."""
        keys = {i: self.key_of(one) for i, one in enumerate(tasks) if _is_kept(one)}
        if not keys:
            return {}
        found = self._look(keys.values())
        missing = list({key for key in keys.values() if key not in found})
        if self.remote is not None and missing:
            fetched = await self.remote.get(missing)
            sound = {key: unpack(key, value) for key, value in fetched.items()}
            good = {key: one for key, one in sound.items() if one is not None}
            for _ in range(len(sound) - len(good)):
                self._metrics.cache_errors.labels("corrupt").inc()
            self._count("remote", len(good), len(missing))
            if self.memory is not None:
                self.memory.put({key: fetched[key] for key in good})
            found |= good
        return {i: found[key] for i, key in keys.items() if key in found}

    async def keep(self, tasks: Sequence[Any], outcomes: Sequence[Any]) -> None:
        """Keeps what tasks became, for whoever asks next."""
        pairs = [
            (self.key_of(task), outcome)
            for task, outcome in zip(tasks, outcomes, strict=True)
            if _is_kept(task)
        ]
        if sum(len(outcome.codes.indices) for _, outcome in pairs) <= _PACKED_HERE:
            values = _packed(pairs)
        else:
            values = await asyncio.to_thread(_packed, pairs)
        if self.memory is not None:
            self.memory.put(values)
        if self.remote is not None:
            self.remote.put(values)

    async def close(self) -> None:
        """Ends the connections to the remote cache."""
        if self.remote is not None:
            await self.remote.close()

    def _look(self, keys: Any) -> dict[bytes, Encoding]:
        if self.memory is None:
            return {}
        asked = set(keys)
        found = {}
        for key, value in self.memory.get(asked).items():
            encoding = unpack(key, value)
            if encoding is not None:
                found[key] = encoding
        self._count("memory", len(found), len(asked))
        return found

    def _count(self, store: str, n_found: int, n_asked: int) -> None:
        lookups = self._metrics.cache_lookups
        lookups.labels(store, "hit").inc(n_found)
        lookups.labels(store, "miss").inc(n_asked - n_found)


def _is_kept(task: object) -> TypeGuard[EncodeTask]:
    """Returns whether it is one whose outcome is worth keeping: activations are not."""
    return isinstance(task, EncodeTask)


def _packed(pairs: Sequence[tuple[bytes, Encoding]]) -> Mapping[bytes, bytes]:
    return {key: pack(key, encoding) for key, encoding in pairs}

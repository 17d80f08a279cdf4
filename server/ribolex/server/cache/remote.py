"""Bytes by key in a Redis or Valkey that may be slow, away, or no Redis at all.

Nobody waits for it longer than a limit, and nobody at all while it fails. Knows nothing
of what the bytes are.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from ribolex.errors import InvalidRequestError
from ribolex.registry.password import redis_at
from ribolex.server.cache.breaker import Breaker

_LOG = logging.getLogger(__name__)

LIMIT_S = 0.05
"""Longest wait for an answer."""
ERRORS = ("timeout", "connection", "response", "busy", "open")
"""Why nothing was asked or answered."""
_N_THREADS = 4
_MAX_PENDING = 64
_MAX_VALUE = 64 << 10
"""A larger value might take longer than the limit, or than to be computed."""
_PREFIX = b"ribolex:code:"


class RemoteCache:
    """For one event loop; the socket work is done in a few threads.

    Args:
        url: redis://, rediss:// or unix://.
        ttl_s: seconds after which a value is gone.
        on_error: told of what went wrong, one of ERRORS.
    """

    def __init__(
        self,
        url: str,
        ttl_s: int,
        on_error: Callable[[str], None],
        breaker: Breaker | None = None,
    ) -> None:
        try:
            self._redis: Any = redis_at(
                url,
                protocol=2,
                socket_connect_timeout=LIMIT_S,
                socket_timeout=LIMIT_S,
                max_connections=_N_THREADS,
                retry=Retry(NoBackoff(), 0),
            )
        except (ValueError, TypeError) as error:
            # Not the URL itself, which may hold a password.
            raise InvalidRequestError("cache", "is no URL of a Redis") from error
        self._ttl_ms = ttl_s * 1000
        self._on_error = on_error
        self._breaker = breaker or Breaker()
        self._threads = ThreadPoolExecutor(_N_THREADS, "ribolex-cache")
        self._n_pending = 0

    @property
    def is_up(self) -> bool:
        """Whether it answers, as far as is known."""
        return not self._breaker.is_open

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Returns the values that are there and come in time, by key."""
        if not keys:
            return {}
        future = self._begin(partial(self._get, keys))
        if future is None:
            return {}
        await asyncio.wait([future], timeout=LIMIT_S)
        if not future.done():
            future.cancel()  # has it counted as late, the thread ends by itself
            return {}
        if future.exception() is not None:
            return {}
        found: dict[bytes, bytes] = future.result()
        return found

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Adds values, but for large ones; nobody waits until they are there."""
        small = {key: one for key, one in values.items() if len(one) <= _MAX_VALUE}
        if small:
            self._begin(partial(self._put, small))

    async def close(self) -> None:
        """Ends all connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._redis.close)

    def _begin(self, job: Callable[[], Any]) -> "asyncio.Future[Any] | None":
        """Has something done in a thread, unless it would not help."""
        if self._n_pending >= _MAX_PENDING:
            self._on_error("busy")
            return None
        if not self._breaker.may_try():
            self._on_error("open")
            return None
        self._n_pending += 1
        inner = self._threads.submit(job)
        future = asyncio.wrap_future(inner)
        future.add_done_callback(self._settle)
        return future

    def _settle(self, future: "asyncio.Future[Any]") -> None:
        self._n_pending -= 1
        error = None if future.cancelled() else future.exception()
        if not future.cancelled() and error is None:
            if not self.is_up:
                _LOG.info("the remote cache is back")
            self._breaker.succeed()
            return
        was_up = self.is_up
        self._on_error(_kind(error))
        if self._breaker.fail():
            # Threads that wait for a server that never ends an answer are let go.
            self._redis.connection_pool.disconnect()
        if was_up and not self.is_up:
            _LOG.warning("the remote cache is away, serving without it")

    def _get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        found = self._redis.mget([_PREFIX + key for key in keys])
        pairs = zip(keys, found, strict=True)
        return {key: one for key, one in pairs if isinstance(one, bytes)}

    def _put(self, values: Mapping[bytes, bytes]) -> None:
        with self._redis.pipeline(transaction=False) as pipeline:
            for key, value in values.items():
                pipeline.set(_PREFIX + key, value, px=self._ttl_ms)
            pipeline.execute()


def _kind(error: BaseException | None) -> str:
    """Returns what went wrong, one of ERRORS; None is what took too long."""
    if error is None or isinstance(error, RedisTimeoutError | TimeoutError):
        return "timeout"
    # What threads see whose connection was closed underneath is of any kind.
    return "response" if isinstance(error, ResponseError) else "connection"

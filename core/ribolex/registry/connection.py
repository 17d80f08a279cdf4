"""One Redis: its scripts run, its failures in our words, its settings checked once.

Knows nothing of what the keys mean. Every wait on a socket is bounded, and a broken
connection is made anew by the next call.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from ribolex.errors import InvalidRequestError, NotReadyError
from ribolex.registry.password import redis_at
from ribolex.registry.scripts import Keys

log = logging.getLogger(__name__)

_CONNECT_S = 2.0
_ANSWER_S = 5.0


class Answer(NamedTuple):
    """What a script said."""

    word: str
    value: str


class Connection:
    """A Redis that may come and go. Thread-safe.

    Attributes:
        address: of it, without user and password.
    """

    def __init__(self, url: str) -> None:
        try:
            self._redis: Any = redis_at(
                url,
                protocol=2,
                decode_responses=True,
                socket_connect_timeout=_CONNECT_S,
                socket_timeout=_ANSWER_S,
                # A write whose answer was lost may have been done: never twice.
                retry=Retry(NoBackoff(), 0),
            )
        except (ValueError, TypeError) as error:
            # Not the URL itself, which may hold a password.
            raise InvalidRequestError("registry", "is no URL of a Redis") from error
        known = self._redis.connection_pool.connection_kwargs
        place = known.get("path") or f"{known.get('host')}:{known.get('port')}"
        self.address = f"{place}/{known.get('db') or 0}"
        self._scripts: dict[str, Any] = {}
        self._is_checked = False

    def run(self, script: str, keys: Keys, *arguments: str | int) -> Answer:
        """Runs a script on the keys of a name.

        Raises:
            NotReadyError: Redis did not answer; whether it was done is not known.
        """
        with self.reached() as redis:
            if script not in self._scripts:
                self._scripts[script] = redis.register_script(script)
            word, value = self._scripts[script](keys=keys, args=arguments)
            return Answer(word, value)

    @contextmanager
    def reached(self) -> Iterator[Any]:
        """Gives the client, whose failures become errors of ours.

        Raises:
            NotReadyError: Redis does not answer, or not as it should.
            InvalidRequestError: it evicts keys, and registries are not to be evicted.
        """
        try:
            if not self._is_checked:
                self._check_eviction()
                self._is_checked = True
            yield self._redis
        except (RedisError, OSError) as error:
            raise NotReadyError(f"Redis at {self.address}: {error}") from error

    def transaction(self, commands: Sequence[tuple[str, ...]]) -> list[Any]:
        """Returns the answers to commands that see one state of Redis."""
        with self.reached() as redis, redis.pipeline(transaction=True) as pipeline:
            for command, *arguments in commands:
                getattr(pipeline, command)(*arguments)
            found: list[Any] = pipeline.execute()
            return found

    def _check_eviction(self) -> None:
        memory = self._redis.info("memory")
        policy = str(memory.get("maxmemory_policy", ""))
        if not policy.startswith("allkeys"):
            return
        if int(memory.get("maxmemory", 0)):
            raise InvalidRequestError(
                "registry",
                f"Redis at {self.address} evicts keys (maxmemory-policy {policy}), "
                "expected noeviction: a registry is no cache",
            )
        log.warning(
            "Redis at %s would evict the registry's keys under maxmemory-policy %s "
            "if it were given a maxmemory",
            self.address,
            policy,
        )

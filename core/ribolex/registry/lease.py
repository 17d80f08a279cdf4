"""A lease that keeps publishers of one name apart, with a token that fences them.

It expires by itself if its holder dies, and is prolonged while the holder works. One
who lost it without noticing (a stopped process, a cut network) is refused by every
script that the token is shown to. Knows nothing of what the holder does.
"""

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ribolex.errors import NotReadyError
from ribolex.registry.connection import Connection
from ribolex.registry.scripts import EXTEND, LEASE, Keys

log = logging.getLogger(__name__)

_ASK_S = 0.02
"""Between two tries to get the lease."""


@contextmanager
def held(
    connection: Connection, name: str, lease_s: float, wait_s: float
) -> Iterator[str]:
    """Gives the token of the lease of a name, and gives the lease back at the end.

    Args:
        connection: the Redis.
        name: of the dictionaries to publish.
        lease_s: until it expires, unless it is prolonged.
        wait_s: longest wait for another holder.

    Raises:
        NotReadyError: another held it all the time, or Redis is away.
    """
    keys, ttl_ms = Keys.of(name), int(lease_s * 1000)
    token = _acquire(connection, name, ttl_ms, wait_s)
    done = threading.Event()

    def prolong() -> None:
        while not done.wait(lease_s / 3):
            try:
                if connection.run(EXTEND, keys, token, ttl_ms).word != "ok":
                    return
            except NotReadyError as error:
                log.warning("lease of dictionary=%s not prolonged: %s", name, error)

    thread = threading.Thread(target=prolong, name=f"lease-{name}", daemon=True)
    thread.start()
    try:
        yield token
    finally:
        done.set()
        thread.join()
        # One that cannot be given back expires.
        with suppress(NotReadyError):
            connection.run(EXTEND, keys, token, 0)


def _acquire(connection: Connection, name: str, ttl_ms: int, wait_s: float) -> str:
    deadline = time.monotonic() + wait_s
    while True:
        answer = connection.run(LEASE, Keys.of(name), uuid.uuid4().hex, ttl_ms)
        if answer.word == "ok":
            return answer.value
        if time.monotonic() >= deadline:
            raise NotReadyError(
                f"another publisher holds the lease of dictionary {name!r} in Redis "
                f"at {connection.address}"
            )
        time.sleep(_ASK_S)

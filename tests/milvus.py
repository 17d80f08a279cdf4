"""A Milvus Lite for tests, as a process on loopback; to be killed and started again."""

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class MilvusLite:
    """A process, which listens once this is made.

    Attributes:
        url: Where it answers, again and again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._lock = _take_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Starts it, with what its folder holds, and waits until it answers."""
        self._process = subprocess.Popen(
            [
                Path(sys.executable).with_name("milvus-lite"), "server",
                "--data-dir", self._folder / "data", "--host", "127.0.0.1",
                "--port", str(self._port),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, "milvus-lite has ended"
                assert time.monotonic() < deadline, "milvus-lite does not start"
                time.sleep(0.02)

    def kill(self) -> None:
        """Kills it as the kernel would; nothing is flushed."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Ends it for good."""
        self.kill()
        _lock_of(self._port).unlink()
        os.close(self._lock)


def _take_port() -> tuple[int, int]:
    """Gives a free port, and the lock that keeps it from other tests.

    Two of these servers would listen on one port without an error, and share calls.
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        lock = os.open(_lock_of(port), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return port, lock
        except OSError:
            os.close(lock)


def _lock_of(port: int) -> Path:
    return Path(tempfile.gettempdir()) / f"milvus-lite-{port}.lock"


@contextmanager
def running_milvus() -> Iterator[MilvusLite]:
    """Gives a Milvus Lite with nothing in it."""
    with tempfile.TemporaryDirectory(prefix="milvus-") as folder:
        milvus = MilvusLite(Path(folder))
        try:
            yield milvus
        finally:
            milvus.close()

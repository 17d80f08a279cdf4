"""Servers in processes of their own, and what is seen of them from outside.

Knows flags, /proc and /metrics; nothing of calls.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PADDED = Path(__file__).parents[1] / "peers" / "padded_server.py"
_ENGINE = Path(__file__).parent / "raw_engine.py"
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_START_S = 180


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    popen: subprocess.Popen[bytes]
    file: Path
    """To be written by it, with its address."""
    log: Path
    """What it wrote to standard error."""

    @property
    def address(self) -> str:
        """Gives its "host:port", once it is ready."""
        end_s = time.monotonic() + _START_S
        while not self.file.exists():
            if self.popen.poll() is not None or time.monotonic() > end_s:
                raise SystemExit(f"no server:\n{self.log.read_text()}")
            time.sleep(0.05)
        return self.file.read_text().strip()

    def cpu_s(self) -> float:
        """Gives the processor time that it has taken."""
        return cpu_s(self.popen.pid)

    def rss_mib(self) -> float:
        """Gives its resident memory."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0

    def metrics(self) -> dict[tuple[str, str], float]:
        """Gives all samples of /metrics by name and labels, as they are written."""
        http = re.search(r"metrics and probes at ([\w.:\[\]]+)", self.log.read_text())
        assert http is not None, "the server was started without --http-port"
        with urllib.request.urlopen(f"http://{http[1]}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return {
            (name, labels): float(number)
            for name, labels, number in _SAMPLE.findall(text)
        }


def cpu_s(pid: int) -> float:
    """Gives the processor time of all threads of a process, to 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def ribolex(folder: Path, name: str, **flags: object) -> Iterator[Server]:
    """Runs `ribolex serve` until the block ends: one thread, no cache in process."""
    settings: dict[str, object] = {"http_port": 0, "threads": 1, "cache_mib": 0}
    settings |= {"log_level": "info", **flags}
    settings["data"] = folder / f"{name}-data"
    command = [sys.executable, "-m", "ribolex.client", "serve", "--port", "0"]
    for flag, value in settings.items():
        command += [f"--{flag.replace('_', '-')}", str(value)]
    with _running(command, folder, name) as server:
        yield server


@contextmanager
def padded(folder: Path) -> Iterator[Server]:
    """Runs the plain padded-batch server until the block ends."""
    with _running([sys.executable, str(PADDED)], folder, "padded") as server:
        yield server


@contextmanager
def _running(command: Sequence[str], folder: Path, name: str) -> Iterator[Server]:
    address, log = folder / f"{name}.address", folder / f"{name}.log"
    with log.open("wb") as errors:
        popen = subprocess.Popen(
            [*command, "--address-file", str(address)],
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        yield Server(popen, address, log)
    finally:
        popen.kill()
        popen.wait()


class RawEngine:
    """The engine without a server, in a process of its own."""

    def __init__(self, queue_tokens: int) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, str(_ENGINE), str(queue_tokens)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **order: Any) -> dict[str, Any]:
        """Gives the answer to one order, see raw_engine.py."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.write(json.dumps(order) + "\n")
        self._popen.stdin.flush()
        line = self._popen.stdout.readline()
        if not line:
            raise SystemExit(f"{_ENGINE.name} died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._popen.communicate()

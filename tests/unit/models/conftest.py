"""A host of weights on this machine, with the faults that hosts and networks have."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ribolex.lm import hub
from ribolex.lm.configuration import LmConfig

GOLDEN = Path(__file__).parents[2] / "golden" / "rinalmo"
OFFICIAL = GOLDEN / "rinalmo_official_layout.pt"
MULTIMOLECULE = GOLDEN / "multimolecule_layout" / "model.safetensors"
NAME = "rinalmo-golden"
COMMIT = "c0ffee"


class Asked(NamedTuple):
    """One request for a file of weights."""

    range: str | None
    if_range: str | None


class Publisher(http.server.ThreadingHTTPServer):
    """Answers as Zenodo and the Hugging Face hub do, once for each fault not."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.faults: list[str] = []
        self.asked: list[Asked] = []
        self.meta_faults: list[int] = []
        self.retry_after = ""
        self.official = OFFICIAL.read_bytes()
        self.multimolecule = MULTIMOLECULE.read_bytes()
        self.etag = '"one"'
        self.chunk_s = 0.0

    @property
    def md5(self) -> str:
        return hashlib.md5(self.official).hexdigest()


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Publisher

    def log_message(self, format: str, *args: object) -> None:
        pass

    def end_headers(self) -> None:
        if self.server.retry_after:
            self.send_header("Retry-After", self.server.retry_after)
        super().end_headers()

    def do_HEAD(self) -> None:
        if self.server.meta_faults:
            return self.send_error(self.server.meta_faults.pop(0))
        content = self.server.multimolecule
        self.send_response(302)
        self.send_header("Location", "/cdn/multimolecule")
        self.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        return self.end_headers()

    def do_GET(self) -> None:
        if self.path.startswith("/api/records/"):
            return self._record()
        if self.path.startswith("/records/"):
            return self._file(self.server.official)
        if f"/resolve/{COMMIT}/" in self.path:
            self.send_response(302)
            self.send_header("Location", "/cdn/multimolecule")
            return self.end_headers()
        if self.path == "/cdn/multimolecule":
            return self._file(self.server.multimolecule)
        return self.send_error(404)

    def _record(self) -> None:
        if self.server.meta_faults:
            return self.send_error(self.server.meta_faults.pop(0))
        size, md5 = len(self.server.official), self.server.md5
        file = {"key": OFFICIAL.name, "size": size, "checksum": f"md5:{md5}"}
        body = json.dumps({"id": 15043668, "revision": 4, "files": [file]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def _file(self, content: bytes) -> None:
        asked = Asked(self.headers["Range"], self.headers["If-Range"])
        self.server.asked.append(asked)
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.isdecimal():
            return self.send_error(int(fault))
        if fault == "wrong byte":
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = int(asked.range[6:-1]) if asked.range else 0
        is_same = asked.if_range in (None, self.server.etag)
        if fault == "no range" or not is_same:
            start = 0
        self.send_response(206 if start else 200)
        if start:
            last = len(content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        self.send_header("ETag", self.server.etag)
        rest = content[start:]
        announced = len(rest) // 2 if fault == "short" else len(rest)
        if fault != "endless":
            self.send_header("Content-Length", str(announced))
        self.end_headers()
        if fault == "endless":
            rest = rest * 3
        if fault in ("drop", "short"):
            rest = rest[: len(rest) // 2]
        self._send(rest)
        if fault == "drop":
            self.close_connection = True
        return None

    def _send(self, rest: bytes) -> None:
        try:
            for begin in range(0, len(rest), 1 << 16):
                self.wfile.write(rest[begin : begin + (1 << 16)])
                if self.server.chunk_s:
                    threading.Event().wait(self.server.chunk_s)
        except ConnectionError:
            self.close_connection = True


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """Gives a host of the golden weights that has no fault yet."""
    server = Publisher()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def golden_model() -> hub.Model:
    """Gives the golden network as a model with two sources."""
    official, other = (
        replace(source, model=NAME) for source in hub.CATALOGUE["rinalmo-giga"].sources
    )
    official = replace(official, file=OFFICIAL.name, sha256=None)
    other = replace(other, shelf=f"multimolecule/{NAME}")
    return hub.Model(NAME, LmConfig.of_width(80, 3, 20), (official, other))


@pytest.fixture
def cache(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Gives an empty cache; the golden network has a name, and both hosts are ours."""
    monkeypatch.setitem(hub.CATALOGUE, NAME, golden_model())
    environment: dict[str, Any] = {
        "RIBOLEX_MODELS": str(tmp_path / "cache"),
        "RIBOLEX_ZENODO_URL": publisher.url,
        "HF_ENDPOINT": publisher.url,
        "no_proxy": "127.0.0.1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "cache"


def left_in(cache: Path) -> list[str]:
    """Gives the files in the cache but for locks."""
    return sorted(
        path.name
        for path in cache.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    )

"""What containers run, run here: scripts that read secrets, and health checks."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from redis.retry import Retry
from tests.deploy.compose import free_ports, program, services
from tests.valkey import server_path

GIVEN = {
    "redis": "argument",
    "minio": "MINIO_ROOT_PASSWORD",
    "milvus": "MINIO_SECRET_ACCESS_KEY",
    "grafana": "",
}
"""Services whose secret a script reads, and where their program finds it."""
ASKED = {
    "prometheus": ("9090", "/-/ready"),
    "grafana": ("3000", "/api/health"),
    "milvus": ("9091", "/healthz"),
    "minio": ("9000", "/minio/health/live"),
    "trainer": ("9470", "/metrics"),
}
"""Health checks that ask over HTTP: ports and paths of their programs."""
STANDS_IN = """#!/bin/sh
for word in "$@"; do echo "argument=$word"; done
env
"""
CLIENT = """#!{python} -SI
import os, socket
with socket.socket(socket.AF_UNIX) as server:
    server.connect("s")
    server.sendall(b'AUTH "%s"\\r\\nPING\\r\\n' % os.environb[b"REDISCLI_AUTH"])
    with server.makefile() as lines:
        print(lines.readline(), lines.readline())
"""
"""Stands in for valkey-cli: says what it is answered to PING."""
LONGEST_S = 60


class Secret:
    """A service's script with its secret in a folder, and others for its programs."""

    def __init__(self, name: str, folder: Path) -> None:
        service = services()[name]
        words = service.get("entrypoint") or service["command"]
        (secret,) = service["secrets"]
        self.file = folder / secret
        self._folder = folder
        self._words = [
            word.replace("/run/secrets", f"{folder}").replace("/run.sh", "run.sh")
            for word in words
        ]
        for each in ("valkey-server", "minio", "milvus", "run.sh"):
            self.install(each, STANDS_IN)

    def install(self, name: str, text: str) -> None:
        path = self._folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._words, cwd=self._folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self) -> tuple[int, str]:
        """Gives the exit status, and what was said."""
        with self.start() as process:
            said, _ = process.communicate(timeout=LONGEST_S)
        return process.returncode, said

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self._folder}/bin:{os.environ['PATH']}"}


@pytest.fixture(params=GIVEN)
def secret(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Secret]:
    return request.param, Secret(request.param, tmp_path)


def test_a_secret_reaches_its_program(secret: tuple[str, Secret]) -> None:
    name, script = secret
    script.file.write_text("a secret of words\n")
    code, said = script.run()
    assert code == 0
    if GIVEN[name]:
        assert f"{GIVEN[name]}=a secret of words\n" in said


def test_an_empty_file_is_no_secret(secret: tuple[str, Secret]) -> None:
    name, script = secret
    script.file.touch()
    code, said = script.run()
    assert code == 0
    if name in ("minio", "milvus"):
        assert f"{GIVEN[name]}=minioadmin\n" in said


def test_nothing_starts_without_the_secret_that_it_should_have(
    secret: tuple[str, Secret],
) -> None:
    _, script = secret
    said = [script.run()]
    script.file.write_text("\n\n")
    said.append(script.run())
    script.file.unlink()
    script.file.mkdir()  # cannot be read, not by root either
    said.append(script.run())
    for code, text in said:
        assert code == 1
        assert script.file.name in text
        assert "PATH=" not in text, "the program was run"


@contextmanager
def listening(process: subprocess.Popen[str]) -> Iterator[Redis]:
    """Waits for a Valkey's socket, gives a client, and ends it."""
    deadline = time.monotonic() + LONGEST_S
    try:
        while not Path("s").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        never = Retry(NoBackoff(), 0)
        with Redis(unix_socket_path="s", retry=never, decode_responses=True) as redis:
            yield redis
    finally:
        process.terminate()
        process.communicate()


def test_valkey_asks_for_its_password_and_its_health_check_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # paths of sockets are short
    script = Secret("redis", tmp_path)
    script.file.write_text("a secret\n")
    options = "--port 0 --unixsocket s"
    script.install("valkey-server", f'#!/bin/sh\nexec {server_path()} "$@" {options}\n')
    script.install("valkey-cli", CLIENT.format(python=sys.executable))
    (kind, check) = services()["redis"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    check = check.replace("/run/secrets", str(tmp_path))

    def is_well() -> bool:
        command = ["sh", "-c", check]
        done = subprocess.run(
            command, env=script.environment, capture_output=True, check=False
        )
        return done.returncode == 0

    assert not is_well()
    with listening(script.start()) as redis:
        with pytest.raises(AuthenticationError):
            redis.ping()
        assert is_well()
        script.file.write_text("another\n")
        assert not is_well()


def test_the_cache_forgets_instead_of_refusing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = services()["codes"]["command"]
    assert told[0] == "valkey-server"
    process = subprocess.Popen(
        [server_path(), *told[1:], "--port", "0", "--unixsocket", "s"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with listening(process) as redis:
        assert redis.config_get("maxmemory", "maxmemory-policy", "save") == {
            "maxmemory": str(256 << 20),
            "maxmemory-policy": "allkeys-lru",
            "save": "",
        }


@contextmanager
def answering(status: int) -> Iterator[tuple[int, list[str]]]:
    """Answers with a status; gives the port, and the paths that were asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port, paths
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", ASKED)
def test_a_health_check_tells_well_from_ill_and_from_gone(name: str) -> None:
    port, path = ASKED[name]
    kind, *words = services()[name]["healthcheck"]["test"]
    assert kind == "CMD"
    asks = sys.executable if words[0] == "python" else program(words[0], words[0])

    def is_well(at: int) -> bool:
        told = [word.replace(f":{port}/", f":{at}/") for word in words[1:]]
        assert told != words[1:]
        done = subprocess.run([asks, *told], capture_output=True, check=False)
        return done.returncode == 0

    with answering(200) as (at, paths):
        assert is_well(at)
        assert paths == [path]
    with answering(503) as (at, _):
        assert not is_well(at)
    assert not is_well(free_ports(["nobody"])["nobody"])

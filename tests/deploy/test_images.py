"""deploy/Dockerfile: careful, and its steps run as far as they do without Docker."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.deploy.compose import COMPOSE, ROOT, read_yaml, services

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
FULL = "RIBOLEX_IMAGE_TEST"
"""Set: dependencies are installed, too; minutes, and a network."""


class Step(NamedTuple):
    stage: str
    word: str
    rest: str


def steps() -> Iterator[Step]:
    """Instructions, each with its continuation lines, and the stage it is in."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    stage = ""
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stage = rest.split(" AS ")[1]
        if word:
            yield Step(stage, word, re.sub(r"\s+", " ", rest))


def said(stage: str, word: str) -> list[str]:
    return [step.rest for step in steps() if (step.stage, step.word) == (stage, word)]


def carried() -> set[str]:
    """Files of the repository that .dockerignore lets through."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    kept = [line[1:] for line in patterns if line.startswith("!")]
    dropped = [line for line in patterns[1:] if not line.startswith("!")]
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return {
        file
        for file in listed
        if any(fnmatch(file, k) or file.startswith(f"{k}/") for k in kept)
        and not any(fnmatch(f"/{file}", f"/{d.removeprefix('**/')}") for d in dropped)
    }


def test_bases_are_pinned_and_nobody_is_root() -> None:
    bases = {step.rest.split()[0] for step in steps() if step.word == "FROM"}
    assert bases == {"python:${PYTHON}", "base"}
    (version,) = [rest for rest in said("", "ARG") if rest.startswith("PYTHON=")]
    assert re.fullmatch(r"PYTHON=3\.\d+\.\d+-slim-bookworm(@sha256:\w+)?", version)
    assert said("base", "USER") == ["10001:10001"]
    assert {step.stage for step in steps()} == {
        "",
        "build",
        "base",
        "server",
        "trainer",
    }


@pytest.mark.parametrize("n_runs", [1, 2])
def test_images_of_others_can_be_bound_to_digests(tmp_path: Path, n_runs: int) -> None:
    folder, programs = tmp_path / "deploy", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    shutil.copy(COMPOSE, tmp_path)
    for name in ("Dockerfile", "pin-images.sh"):
        shutil.copy(ROOT / "deploy" / name, folder)
    docker = programs / "docker"
    docker.write_text(
        '#!/bin/sh\necho "sha256:$(echo "$4" | sha256sum | cut -c1-64)"\n'
    )
    docker.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    for _ in range(n_runs):
        told = shell("./pin-images.sh", folder, PATH=path).splitlines()
    pins = dict(line.split("@") for line in told)
    images = {service["image"] for service in services().values()}
    others = {image for image in images if not image.startswith("ribolex-")}
    (python,) = [rest.removeprefix("PYTHON=") for rest in said("", "ARG")
                 if rest.startswith("PYTHON=")]  # fmt: skip
    assert set(pins) == others | {f"python:{python}"}
    pinned = {
        s["image"] for s in read_yaml(tmp_path / COMPOSE.name)["services"].values()
    }
    assert {f"{image}@{pins[image]}" for image in others} <= pinned
    assert (
        f"ARG PYTHON={python}@{pins[f'python:{python}']}\n"
        in (folder / "Dockerfile").read_text()
    )


def test_images_say_what_they_are() -> None:
    (labels,) = said("base", "LABEL")
    told = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", labels))
    assert told == {"title", "description", "licenses", "version", "revision"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"VERSION={project['version']}" in said("base", "ARG")
    tags = {s["image"].partition(":")[2] for s in services().values()
            if s["image"].startswith("ribolex")}  # fmt: skip
    assert tags == {f"{project['version']}-{kind}" for kind in ("cpu", "cuda")}


def test_folders_for_volumes_are_made_and_owned() -> None:
    (made,) = said("base", "RUN")
    mounted = {
        volume.split(":")[1]
        for name in ("server", "trainer")
        for volume in services()[name]["volumes"]
        if isinstance(volume, str)
    }
    owned = made.split("chown ribolex:ribolex ")[1].split()
    assert mounted == set(owned)
    assert mounted <= set(made.split("mkdir -p ")[1].split())


def test_what_is_built_from_travels_and_nothing_else() -> None:
    files = carried()
    assert {"LICENSE", "README.md", "bundle/pyproject.toml"} <= files
    assert {"bundle/ribolex_bundle/model/model.safetensors"} <= files
    assert not any(re.match(r"tests|bench|docs|\.", file) for file in files)
    for rest in said("build", "COPY"):
        for source in rest.split()[:-1]:
            assert source == "." or source in files


@pytest.mark.parametrize(
    "extra", ["server milvus otel", "server-gpu milvus otel", "trainer"]
)
def test_every_requirement_is_locked(extra: str) -> None:
    with (ROOT / "pyproject.toml").open() as file:
        printed = subprocess.run(
            [sys.executable, ROOT / "deploy" / "requirements.py", *extra.split()],
            stdin=file, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    needed = [Requirement(line) for line in printed.splitlines()]
    assert len(needed) > 15
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {
        canonicalize_name(name): version
        for name, version in (line.split("==") for line in lines if "==" in line)
    }
    seen, names = set(), [canonicalize_name(each.name) for each in needed]
    for each in needed:
        assert each.specifier.contains(pins[canonicalize_name(each.name)])
    while names:  # and what those bring along
        name = names.pop()
        if name in seen or name == "faiss-gpu":  # it is not here
            continue
        seen.add(name)
        assert name in pins, name
        for text in distribution(name).requires or ():
            found = Requirement(text)
            if found.marker is None or found.marker.evaluate({"extra": ""}):
                names.append(canonicalize_name(found.name))


def shell(command: str, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        ["sh", "-euc", command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_steps_of_the_build_make_a_command_that_works(tmp_path: Path) -> None:
    source, target = tmp_path / "src", tmp_path / "opt" / "ribolex"
    for file in carried():
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, source / file)
    shutil.copy(ROOT / "deploy" / "requirements.py", source)
    is_full = bool(os.environ.get(FULL))
    variables = {"EXTRA": "server milvus", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    variables["PIP_CONSTRAINT"] = str(source / "constraints.txt")
    if not is_full:
        # pip reads it the wrong way round: builds with the hatchling that is here.
        variables["PIP_NO_BUILD_ISOLATION"] = "0"
    n_run = 0
    for rest in said("build", "RUN"):
        command = rest.replace("/opt/ribolex", str(target))
        command = re.sub(r"^python ", f"{sys.executable} ", command)
        if "install -r" in command and not is_full:
            command = command.partition(" && ")[0]
            (packages,) = target.glob("lib/python*/site-packages")
            here = Path(pytest.__file__).parents[1]
            (packages / "here.pth").write_text(f"{here}\n")
        shell(command, source, **variables)
        n_run += 1
    assert n_run == 5
    told = shell(
        f"{target}/bin/python -c 'import ribolex_bundle as b, ribolex.server as s;"
        "print(s.__file__, b.model_path(), b.dictionaries_path())'",
        tmp_path,
    )
    assert [path.startswith(str(target)) for path in told.split()] == [True] * 3
    for stage, service in (("server", "server"), ("trainer", "trainer")):
        (health,) = said(stage, "HEALTHCHECK")
        in_compose = services()[service]["healthcheck"]["test"][1:]
        assert json.loads(health.partition(" CMD ")[2]) == in_compose
        assert (target / "bin" / in_compose[0]).exists()
    listed = shell(
        f"{target}/bin/ribolex dictionaries list --registry bundled", tmp_path
    )
    assert "ribolex-mini-l6" in listed
    copied = shell(
        f"{target}/bin/ribolex {' '.join(services()['seed']['command'])}",
        tmp_path, RIBOLEX_REGISTRY=str(tmp_path / "registry"),
    )  # fmt: skip
    assert copied.count("is current") == 4

"""What an operator is told to type: commands that there are, with what they need."""

import argparse
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import pytest
from tests.conftest import OwnServer
from tests.deploy.compose import OURS, ROOT, environment, read_yaml, services
from typer.core import TyperCommand
from typer.testing import CliRunner

from ribolex.client import cli

GUIDE = (ROOT / "docs" / "operations.md").read_text()
SPAN = re.compile(r"`([^`]+)`")
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def runbooks() -> list[str]:
    groups = read_yaml(ROOT / "deploy" / "prometheus" / "rules.yml")["groups"]
    return [rule["annotations"]["runbook"] for g in groups for rule in g["rules"]]


def commands() -> Iterator[str]:
    """All of the runbooks, and those of the guide that are about containers."""
    spans = [span for text in runbooks() for span in SPAN.findall(text)]
    yield from (s for s in spans if s.startswith(("docker ", "ribolex ")))
    lines = [line for block in BLOCK.findall(GUIDE) for line in block.splitlines()]
    spans = SPAN.findall(BLOCK.sub("", GUIDE))
    told = [*lines, *(" ".join(span.replace(r"\|", "|").split()) for span in spans)]
    yield from (each for each in told if each.startswith("docker compose "))


def compose_parser() -> argparse.ArgumentParser:
    """What of `docker compose` the guide makes use of."""
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, flags in (
        ("ps", ["-a"]), ("up", ["-d", "--force-recreate"]), ("logs", ["-f"]),
        ("restart", []), ("stop", []), ("start", []), ("build", []), ("down", []),
    ):  # fmt: skip
        one = verbs.add_parser(verb, add_help=False)
        for flag in flags:
            one.add_argument(flag, action="store_true", dest=flag)
        for option in {"logs": ["--tail"], "up": ["--scale"]}.get(verb, []):
            one.add_argument(option)
        one.add_argument("services", nargs="*", choices=[*services(), []])
    for verb in ("exec", "run"):
        one = verbs.add_parser(verb, add_help=False)
        one.add_argument("--rm", action="store_true", required=verb == "run")
        one.add_argument("services", nargs=1, choices=list(services()))
        one.add_argument("words", nargs=argparse.REMAINDER)
    return parser


def check_ribolex(
    monkeypatch: pytest.MonkeyPatch, words: list[str], given: dict[str, str]
) -> None:
    """Has the real command line read it, and do nothing."""
    cli._register_others()
    monkeypatch.setattr(TyperCommand, "invoke", lambda *_: None)
    env = {"RIBOLEX_REGISTRY": None, **given}
    found = CliRunner().invoke(cli.app, words, env=env)
    assert found.exit_code == 0, found.output


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_it_can_be_typed(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line.partition(" | ")[0], comments=True)
    if words[0] == "ribolex":
        check_ribolex(monkeypatch, words[1:], {})
        return
    told = compose_parser().parse_args(words[2:])
    if told.verb == "run":
        # The image's entry point is `ribolex`.
        assert told.services[0] in OURS
        check_ribolex(monkeypatch, told.words, environment(told.services[0]))
    elif told.verb == "exec" and told.words[0] == "ribolex":
        check_ribolex(monkeypatch, told.words[1:], environment(told.services[0]))
    elif told.verb == "exec":
        assert told.words[:2] in (["python", "-c"], ["grafana", "cli"])


def test_runbooks_mark_what_is_to_be_typed_and_name_real_settings() -> None:
    settings = re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text(), re.M)
    for text in runbooks():
        assert not re.search(r"docker|ribolex |--|RIBOLEX_", SPAN.sub("", text)), text
        named = {s for s in SPAN.findall(text) if s.startswith("RIBOLEX_")}
        assert named <= set(settings)


@pytest.mark.parametrize("file", ["README.md", "docs/operations.md"])
def test_what_is_installed_lies_in_the_checkout(file: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    blocks = "".join(BLOCK.findall((ROOT / file).read_text()))
    found = re.findall(r"\bpip install ([^#\n;`]+)", blocks)
    assert found
    for line in found:
        for word in shlex.split(line):
            place, _, extras = word.rstrip("]").partition("[")
            assert (ROOT / place / "pyproject.toml").is_file(), line
            assert set(filter(None, extras.split(","))) <= {
                *project["optional-dependencies"]
            }
        assert "[" not in line or "./bundle" in line


def test_the_reason_of_not_being_ready_is_told(
    own_server: OwnServer, free_tcp_port: int
) -> None:
    (line,) = {s for s in commands() if "/readyz" in s}
    code = shlex.split(line)[-1].replace("9464", str(free_tcp_port))
    with own_server(http_port=free_tcp_port):
        told = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
    assert told.stdout.strip() == "ready"

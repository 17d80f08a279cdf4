"""The command line without a server: helps, misuse, failures in one line."""

import sys
from pathlib import Path

import pytest
import typer
from tests.command_line import run_ribolex
from typer.testing import CliRunner

from ribolex.client import cli

COMMANDS = sorted(typer.main.get_group(cli.app).commands)


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(cli, "entry_points", lambda group: [])
    return run_ribolex(monkeypatch, *arguments)


def test_commands_are_those_of_the_readme() -> None:
    expected = (
        "add align collections compare demo dictionaries embed encode feature health "
        "probe rnas scan search"
    )
    assert " ".join(COMMANDS) == expected


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_each_argument_is(command: str) -> None:
    result = CliRunner().invoke(cli.app, [command, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80


def test_overviews_cut_no_help_short() -> None:
    commands = typer.main.get_group(cli.app).commands
    groups = [name for name, one in commands.items() if hasattr(one, "commands")]
    assert "feature" in groups
    for group in ([], *([name] for name in groups)):
        result = CliRunner().invoke(cli.app, [*group, "--help"], env={"COLUMNS": "80"})
        assert "..." not in result.output.partition("Commands:")[2]


def test_every_command_about_features_does_without_a_server() -> None:
    group = typer.main.get_group(cli.app).commands["feature"]
    assert isinstance(group, typer.core.TyperGroup)
    for one in group.commands.values():
        assert "local" in [parameter.name for parameter in one.params], one.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["collections"], "no server answers at 127.0.0.1:1"),
        (["encode", "none.fasta", "-o", "codes.npz"], "none.fasta: No such file"),
        (["encode", "empty.fasta", "-o", "codes.npz"], "empty.fasta: is empty"),
        (["encode", "a.fasta", "-o", "none/codes.npz"], "No such file or directory"),
        (["embed", "a.fasta", "-o", "codes.csv"], "does not end in .npz or"),
        (["embed", "a.fasta", "-o", "codes.npz"], "no server answers at"),
        (
            ["search", "-c", "mine", "--sequence", "AC\udcff"],
            "at position 3 is not an RNA",
        ),
        (
            ["add", "-c", "mine", "twice.fasta"],
            "twice.fasta:3: 'a' again, as in line 1",
        ),
        (["add", "-c", "mine", "odd.txt"], "odd.txt:1: neither FASTA"),
        (["search", "-c", "mine", "--sequence", "ACGU"], "no server answers at"),
        (["feature", "show", "7"], "no server answers at"),
        (["collections", "delete", "x", "--yes"], "no server answers at"),
        (["health"], "no server answers at"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_failure_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIBOLEX_SERVER", "127.0.0.1:1")
    Path("empty.fasta").write_text("")
    Path("a.fasta").write_text(">a\nACGU\n")
    Path("twice.fasta").write_text(">a\nACGU\n>a\nGG\n")
    Path("odd.txt").write_text("what is this\n")
    assert _run(monkeypatch, *arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ribolex: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not Path("codes.npz").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "-c", "mine"],
        ["search", "a.fasta"],
        ["search", "-c", "mine", "a.fasta", "--rna", "a"],
        ["search", "-c", "mine", "--sequence", "ACGU", "--top", "0"],
        ["search", "-c", "mine", "a.fasta", "-o", "x", "--json"],
        ["encode", "a.fasta"],
        ["encode", "a.fasta", "-o", "b", "-k", "0"],
        ["embed", "a.fasta", "-o", "b.npz", "--layer", "0"],
        ["feature", "show", "-1"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_misuse_is_told_with_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    assert _run(monkeypatch, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage: ribolex" in captured.err


class _Entry:
    """An entry point of another package."""

    name = "other"

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def load(self) -> object:
        if isinstance(self._error, ModuleNotFoundError):
            raise self._error

        def register(app: typer.Typer) -> None:
            @app.command()
            def other() -> None:
                """Do what others do."""
                if self._error is not None:
                    raise self._error

        return register


def _run_other(monkeypatch: pytest.MonkeyPatch, entry: _Entry) -> int | str | None:
    app = typer.Typer()
    app.command()(cli.demo)
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(cli, "entry_points", lambda group: [entry])
    monkeypatch.setattr(sys, "argv", ["ribolex", "other"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def test_other_packages_add_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run_other(monkeypatch, _Entry()) == 0


def test_errors_of_the_core_are_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ribolex.errors import NotReadyError

    assert _run_other(monkeypatch, _Entry(NotReadyError("loading"))) == 1
    assert capsys.readouterr().err == "ribolex: not ready: loading\n"


def test_extra_that_is_not_installed_takes_its_commands_along(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ModuleNotFoundError("No module named 'torch'")
    assert _run_other(monkeypatch, _Entry(error)) == 2

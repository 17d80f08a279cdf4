"""A server of one's own is waited for, and stopped whatever happens."""

import os
import signal
import sys
from pathlib import Path

import pytest

from ribolex.client import NotReadyError, child

READY = """
import pathlib, signal, sys, time
def leave(*_):
    pathlib.Path(sys.argv[0] + ".ended").touch()
    sys.exit()
signal.signal(signal.SIGTERM, leave)
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
staged = pathlib.Path(sys.argv[0] + ".address")
staged.write_text("127.0.0.1:7\\n")
staged.rename(arguments["--address-file"])
time.sleep(50)
"""
BROKEN = """
print("first words")
print("the last words")
raise SystemExit(3)
"""


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Gives the script that runs in place of `python -m ribolex.client serve`."""
    script, python = tmp_path / "serve.py", tmp_path / "python"
    python.write_text(f'#!/bin/sh\nshift 3\nexec {sys.executable} {script} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return script


def test_address_is_given_and_the_server_stopped(serve: Path, tmp_path: Path) -> None:
    serve.write_text(READY)
    with child.running_server(tmp_path) as address:
        assert address == "127.0.0.1:7"
    assert Path(f"{serve}.ended").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_the_server_too(
    serve: Path, tmp_path: Path, number: signal.Signals
) -> None:
    serve.write_text(READY)
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught, child.running_server(tmp_path):
        os.kill(os.getpid(), number)
    assert caught.value.code == 128 + number
    assert Path(f"{serve}.ended").exists()
    assert signal.getsignal(number) is before


def test_error_stops_the_server_too(serve: Path, tmp_path: Path) -> None:
    serve.write_text(READY)
    with pytest.raises(ZeroDivisionError), child.running_server(tmp_path):
        _ = 1 / 0
    assert Path(f"{serve}.ended").exists()


def test_last_words_of_a_server_that_does_not_start_are_told(
    serve: Path, tmp_path: Path
) -> None:
    serve.write_text(BROKEN)
    words = pytest.raises(NotReadyError, match="did not start: the last words")
    with words, child.running_server(tmp_path):
        pass


def test_server_that_is_never_ready_is_given_up(
    serve: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_START_S", 0.1)
    serve.write_text("import time; time.sleep(50)")
    silent = pytest.raises(NotReadyError, match="it said nothing")
    with silent, child.running_server(tmp_path):
        pass

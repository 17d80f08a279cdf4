"""The command line as a shell runs it, in this process."""

import sys

import pytest

from ribolex.client import cli


def run_ribolex(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Gives the exit code of `ribolex` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["ribolex", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)

"""Memory that was freed piece by piece goes back to the system."""

import subprocess
import sys

import pytest

_MANY_PIECES = """
from pathlib import Path
from ribolex.server.memory import give_back

def anonymous_mib():
    told = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(x.split()[1]) >> 10 for x in told if x.startswith("Anonymous"))

pieces = [b"x" * 60_000 for _ in range(3000)]
# What is still used lies between what is not, and after it.
kept = pieces[::50]
del pieces
before = anonymous_mib()
give_back()
print(before - anonymous_mib())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_freed_is_given_back() -> None:
    command = [sys.executable, "-c", _MANY_PIECES]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(told) > 100

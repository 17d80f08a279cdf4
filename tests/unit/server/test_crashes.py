"""What was acknowledged outlives kill -9, and nothing is half there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ribolex.server.index.warming import warm_up

ROUNDS = int(os.environ.get("RIBOLEX_CRASH_ROUNDS", "10"))
ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * ROUNDS)
def test_killed_while_it_restores_a_server_has_all_of_it_or_nothing(
    tmp_path: Path, tiny_registry: Path
) -> None:
    command = [sys.executable, "-m", "tests.unit.server.restoring", str(tiny_registry)]
    command += [str(tmp_path / "root"), str(max(6, ROUNDS)), "5"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    sys.stdout.write(done.stdout)
    counts = json.loads(done.stdout)
    assert counts["whole"] + counts["absent"] == counts["rounds"]
    assert counts["absent"]


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * ROUNDS)
def test_killed_at_any_point_a_collection_is_what_was_acknowledged(
    tmp_path: Path, tiny_registry: Path
) -> None:
    """RIBOLEX_CRASH_ROUNDS asks for more rounds."""
    warm_up()  # A process that is killed while it compiles leaves nothing compiled.
    command = [sys.executable, "-m", "tests.unit.server.crashing", str(tiny_registry)]
    command += [str(tmp_path / "root"), str(ROUNDS), "17"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    counts = json.loads(done.stdout)
    sys.stdout.write(done.stdout)
    assert counts["rounds"] == ROUNDS
    assert counts["changes"] > ROUNDS
    assert counts["moves"]  # to another dictionary, and back
    assert counts["blocks"]  # of pooled codes, as the killed left them

"""The real command, killed and stopped, comes to the bytes of a run that was not."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ribolex.registry import FolderRegistry
from ribolex.rna import Rna, write_rnas

TEXT = """
registry = "registry"
workdir = "work"
threads = 1
[corpus]
train = ["../train.tsv.gz"]
validation = "../validation.tsv.gz"
[model]
name = "{model}"
[evaluation]
probe_nucleotides = 500
loss_nucleotides = 200
[[dictionary]]
name = "one"
layer = 1
features = 64
k = 4
tokens = {tokens}
batch_rows = 100
checkpoint_steps = 10
[gates]
fvu = {fvu}
dead_fraction = 1.0
dense_fraction = 1.0
loss_recovered = false
"""

Place = Callable[..., Path]


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path) -> Place:
    """Gives a function that writes a configuration in a folder of its own."""
    generator = np.random.default_rng(0)
    for table, n_rnas in (("train", 60), ("validation", 20)):
        rnas = [
            Rna(
                f"{table}{i}",
                "".join(generator.choice(list("ACGU"), 20)),
                "..(((((......)))))..",
                {"family_acc": f"{table}{i % 8}"},
            )
            for i in range(n_rnas)
        ]
        write_rnas(tmp_path / f"{table}.tsv.gz", rnas)

    def make(name: str, *, tokens: int = 6000, fvu: float = 2.0) -> Path:
        (tmp_path / name).mkdir()
        file = tmp_path / name / "trainer.toml"
        file.write_text(TEXT.format(model=tiny_model, tokens=tokens, fvu=fvu))
        return file

    return make


def start(file: Path, *launcher: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "ribolex.trainer", "run", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
        },
    )


def events(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def finish(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]]]:
    out, err = process.communicate(timeout=200)
    assert "Traceback" not in err, err
    return process.returncode, [json.loads(line) for line in out.splitlines()]


def content_id(file: Path) -> str:
    (entry,) = FolderRegistry(file.parent / "registry").list()
    assert entry.is_current
    return entry.content_id


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_and_stopped_it_comes_to_the_same_bytes(place: Place) -> None:
    whole, broken = place("whole"), place("broken")
    code, told = finish(start(whole))
    assert code == 0
    assert told[-1]["event"] == "end"
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = start(broken)
        for event in events(process):
            if event.get("stage") == "fit" and event.get("fvu"):
                break
        process.send_signal(number)
        code, told = finish(process)
        assert code == (-number if number == signal.SIGKILL else 0)
    assert told[-1]["event"] == "stopped"
    code, told = finish(start(broken))
    assert code == 0
    begun = [event["done"] for event in told if event.get("fvu")]
    assert begun[0] > 1  # not from the beginning
    assert content_id(broken) == content_id(whole)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_of_torchrun_publish_once(place: Place) -> None:
    file = place("two", tokens=2000)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    code, told = finish(start(file, *launcher))
    assert code == 0
    (run,) = [event for event in told if event["event"] == "run"]
    assert run["ranks"] == 2
    assert [e["ref"] for e in told if e["event"] == "published"] == ["one@1"]
    assert content_id(file)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_exit_codes_tell_gates_from_failures(place: Place) -> None:
    file = place("strict", tokens=1000, fvu=1e-9)
    code, told = finish(start(file))
    assert code == 3
    (failed,) = [event for event in told if event["event"] == "gate_failed"]
    assert (failed["gate"], failed["limit"]) == ("fvu", 1e-9)
    assert (Path(failed["candidate"]) / "dictionary.json").exists()
    file.write_text(file.read_text().replace("layer = 1", "layer = 9"))
    code, told = finish(start(file))
    assert code == 1
    assert "9, expected 1 to 2" in told[-1]["error"]

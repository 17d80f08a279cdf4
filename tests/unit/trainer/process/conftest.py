"""A small world for a trainer: a model, files of RNAs, and a configuration."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ribolex.registry import FolderRegistry
from ribolex.rna import Rna, write_rnas
from ribolex.trainer.process import Event, Reporter, Trainer, make_config
from ribolex.trainer.process.reporting import Listener
from ribolex.trainer.stopping import Stop

DrawRnas = Callable[..., list[Rna]]


class Crash(BaseException):
    """A kill, as far as one process can tell."""


class Log(Listener):
    """Keeps events; crashes at one if told to."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.crash_at = -1

    def take(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) - 1 == self.crash_at:
            raise Crash

    def kinds(self) -> list[str]:
        """What happened, without how far stages were."""
        return [e.kind for e in self.events if e.kind not in ("progress", "stage")]

    def stages(self) -> list[tuple[str, str]]:
        """Stages that did something, each with its dictionary."""
        found = [(e.stage, e.dictionary) for e in self.events if e.kind == "progress"]
        return list(dict.fromkeys(found))


@dataclass
class World:
    """Files in a folder, and what a trainer makes of them."""

    root: Path
    fields: dict[str, Any]
    log: Log = field(default_factory=Log)
    stop: Stop = field(default_factory=Stop)

    @property
    def registry(self) -> FolderRegistry:
        return FolderRegistry(Path(self.fields["registry"]))

    def trainer(self) -> Trainer:
        """A new process, as it were."""
        config = make_config(self.fields, "test")
        self.log = Log()
        return Trainer(config, "cpu", Reporter([self.log]), self.stop)

    def content_ids(self) -> dict[str, str]:
        return {entry.ref: entry.content_id for entry in self.registry.list()}


MakeWorld = Callable[[str], World]


@pytest.fixture
def make_world(tmp_path: Path, tiny_model: Path, draw_rnas: DrawRnas) -> MakeWorld:
    """Gives a function that makes a world in a folder of that name."""

    def make(name: str) -> World:
        root = tmp_path / name
        (root / "rnas").mkdir(parents=True)
        write_rnas(root / "rnas" / "first.tsv.gz", draw_rnas(120, n_families=30))
        fit = {"tokens": 3000, "batch_rows": 100, "features": 64, "k": 4}
        rest = {"learning_rate": 3e-3, "checkpoint_steps": 5}
        fields: dict[str, Any] = {
            "registry": str(root / "registry"),
            "workdir": root / "work",
            "corpus": {"inputs": [str(root / "rnas" / "*.tsv.gz")]},
            "model": {"name": str(tiny_model)},
            "evaluation": {"probe_nucleotides": 500, "loss_nucleotides": 200},
            "dictionary": [{"name": "one-l{layer}", "layers": [1, 2], **fit, **rest}],
            "gates": {
                "fvu": 2.0,
                "dead_fraction": 1.0,
                "dense_fraction": 1.0,
                "loss_recovered": False,
            },
        }
        return World(root, fields)

    return make


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world("world")

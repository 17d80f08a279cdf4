"""The trainer as a process: one file says what is to be made, and it is kept made.

`TrainerConfig` is that file; `run` takes every dictionary in it from a corpus to the
registry, each stage once, whatever was killed in between; `watch` does so again when
the corpus grows or somebody asks.
"""

from ribolex.trainer.process.config import TrainerConfig, make_config, read_config
from ribolex.trainer.process.reporting import Event, Reporter
from ribolex.trainer.process.run import Failure, Trainer, exit_code
from ribolex.trainer.process.watch import watch

__all__ = [
    "Event",
    "Failure",
    "Reporter",
    "Trainer",
    "TrainerConfig",
    "exit_code",
    "make_config",
    "read_config",
    "watch",
]

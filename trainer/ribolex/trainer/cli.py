"""The trainer's part of the `ribolex` command."""

import typer

from ribolex.trainer.commands.pretrain import pretrain
from ribolex.trainer.commands.score_lm import score_lm
from ribolex.trainer.commands.train import train


def register(app: typer.Typer) -> None:
    """Adds `pretrain`, `score-lm` and `train` to the command line."""
    app.command()(pretrain)
    app.command()(score_lm)
    app.command()(train)

"""The trainer's part of the `ribolex` command."""

import typer

from ribolex.registry.cli import dictionaries_group
from ribolex.trainer.commands.interchange import export, import_
from ribolex.trainer.commands.pretrain import pretrain
from ribolex.trainer.commands.score_lm import score_lm
from ribolex.trainer.commands.train import train


def register(app: typer.Typer) -> None:
    """Adds `pretrain`, `score-lm`, `train`, and to `dictionaries` import and export."""
    app.command()(pretrain)
    app.command()(score_lm)
    app.command()(train)
    group = dictionaries_group(app)
    group.command(name="import")(import_)
    group.command()(export)

"""The trainer's part of the `ribolex` command."""

import typer

from ribolex.registry.cli import dictionaries_group
from ribolex.trainer.commands.align import align
from ribolex.trainer.commands.annotate import annotate
from ribolex.trainer.commands.corpus import build, show
from ribolex.trainer.commands.evaluate import evaluate
from ribolex.trainer.commands.findings import app as findings
from ribolex.trainer.commands.interchange import export, import_
from ribolex.trainer.commands.pretrain import pretrain
from ribolex.trainer.commands.score_lm import score_lm
from ribolex.trainer.commands.train import train
from ribolex.trainer.commands.trainer import app as trainer


def register(app: typer.Typer) -> None:
    """Adds the trainer's commands, and to `dictionaries` import, export and align."""
    corpus = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    corpus.command()(build)
    corpus.command()(show)
    app.add_typer(corpus, name="corpus", help="Make corpora of RNAs, look at them.")
    app.command()(annotate)
    app.command()(evaluate)
    app.add_typer(findings, name="findings", help="Hold features against controls.")
    app.command()(pretrain)
    app.command()(score_lm)
    app.command()(train)
    app.add_typer(trainer, name="trainer", help="Make dictionaries, keep them made.")
    group = dictionaries_group(app)
    group.command(name="import")(import_)
    group.command()(export)
    group.command()(align)

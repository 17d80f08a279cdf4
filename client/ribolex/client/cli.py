"""The `ribolex` command: what the client can do, from a shell.

Results go to standard output, progress and errors to standard error; a failure is
one line and exit code 1. Other packages add their commands through the entry-point
group `ribolex.commands`.
"""

import sys
from importlib.metadata import entry_points
from io import TextIOWrapper
from typing import NoReturn

import typer
from rich.console import Console

from ribolex.client import output
from ribolex.client.commands import collections, features, probing, rnas, versions
from ribolex.client.commands.comparing import compare
from ribolex.client.commands.encoding import embed, encode
from ribolex.client.commands.finding import find
from ribolex.client.commands.health import health
from ribolex.client.commands.mapping import map_
from ribolex.client.commands.nearest import nearest
from ribolex.client.commands.scanning import scan
from ribolex.client.commands.searching import add, align, console, search
from ribolex.client.commands.server import Server, with_server
from ribolex.client.errors import (
    RibolexError,
)

app = typer.Typer(
    name="ribolex",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A feature dictionary for RNA: codes of RNAs, and similar RNAs with reasons.",
)
dictionaries = typer.Typer(rich_markup_mode=None)
app.add_typer(dictionaries, name="dictionaries")
versions.register(dictionaries)
sets = typer.Typer(rich_markup_mode=None)
app.add_typer(sets, name="collections")
collections.register(sets)
stored = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="List or delete the RNAs of a collection.",
)
app.add_typer(stored, name="rnas")
rnas.register(stored)
app.command()(add)
app.command()(search)
app.command()(align)
app.command()(compare)
features.app.command()(find)
features.app.command()(nearest)
features.app.command(name="map")(map_)
app.add_typer(
    features.app, name="feature", help="Show what features mean; list, find them."
)
app.add_typer(probing.app, name="probe", help="Read labels of your own off RNAs.")
app.command()(encode)
app.command()(embed)
app.command()(scan)
app.command()(health)


@dictionaries.callback(invoke_without_command=True)
@with_server
def list_dictionaries(context: typer.Context, server: Server) -> None:
    """List a server's dictionaries, or change which are used.

    Without a command: what a running server has, * its default. With --registry a
    command works on the registry itself, and needs no server.
    """
    if context.invoked_subcommand:
        return
    with server.connect() as client:
        output.print_dictionaries(console(), client.dictionaries())


@app.command()
def demo() -> None:
    """Show all of it on real RNAs, with a server of its own."""
    from ribolex.client.demo import run_demo

    run_demo(Console())


def main() -> None:
    """Runs the command line; a failure is one line and exit code 1."""
    _register_others()
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal that lacks a sign shows "?" instead of failing the command.
        sys.stdout.reconfigure(errors="replace")
    try:
        app(prog_name="ribolex")
    except RibolexError as error:
        _fail(str(error))
    except OSError as error:
        is_about_file = error.filename is not None and error.strerror is not None
        _fail(f"{error.filename}: {error.strerror}" if is_about_file else str(error))
    except ModuleNotFoundError as error:
        _fail(f"{error}; it comes with ribolex[server] or ribolex[trainer]")
    except Exception as error:
        # A command of the server or the trainer may have loaded the core's errors,
        # which the client itself does without.
        core = sys.modules.get("ribolex.errors")
        if core is None or not isinstance(error, core.RibolexError):
            raise
        _fail(str(error))


def _register_others() -> None:
    """Adds the commands of the other packages whose extras are installed."""
    for entry in sorted(entry_points(group="ribolex.commands"), key=lambda e: e.name):
        try:
            register = entry.load()
        except ModuleNotFoundError:
            continue
        register(app)


def _fail(message: str) -> NoReturn:
    typer.echo(f"ribolex: {' '.join(message.split())}", err=True)
    raise SystemExit(1)

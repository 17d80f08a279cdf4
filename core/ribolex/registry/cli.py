"""The commands `ribolex dictionaries list`, `publish`, `activate` and so on.

They work on a registry itself, with no server; where a command of that name asks a
server already, `--registry` makes the difference. Light: what reads dictionaries is
imported once a command is called.
"""

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

_GROUP = "dictionaries"
_WIDE = 240

At = Annotated[
    str,
    typer.Option(
        "--registry",
        metavar="FOLDER|URL",
        help='A folder, redis://..., or "bundled".',
        envvar="RIBOLEX_REGISTRY",
    ),
]
_Maybe = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="FOLDER|URL",
        help='Work on this registry, with no server: a folder, redis://..., "bundled".',
        envvar="RIBOLEX_REGISTRY",
    ),
]
RefArgument = Annotated[str, typer.Argument(metavar="NAME@VERSION")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Adds the commands on a registry to `ribolex dictionaries`."""
    group = dictionaries_group(app)
    group.command(name="list")(list_entries)
    group.command()(publish)
    group.command()(copy)
    group.command()(current)
    _offer(group, activate)
    _offer(group, retire)
    group.command()(purge)
    group.command(name="log")(show_log)
    group.command()(reconcile)


def dictionaries_group(app: typer.Typer) -> typer.Typer:
    """Returns the group of commands `ribolex dictionaries`, made if it is not there."""
    for known in app.registered_groups:
        if known.name == _GROUP and known.typer_instance is not None:
            return known.typer_instance
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name=_GROUP, help="Work on a registry of dictionaries.")
    return group


def list_entries(registry: At, as_json: AsJson = False) -> None:
    """List what a registry holds; * marks the current versions."""
    from ribolex.registry.opening import open_registry

    entries = open_registry(registry).list()
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries]))
        return
    table = _table("dictionary", "", "model", "layer", "features", "k", "content")
    for entry in entries:
        identity = entry.identity
        table.add_row(
            Text(f"{entry.ref}{' *' if entry.is_current else ''}"),
            "retired" if entry.is_retired else "",
            Text(identity.lm_name),
            f"{identity.layer} {identity.hook}",
            f"{identity.n_features}",
            f"{identity.k}",
            entry.content_id[:12],
        )
    _console().print(table)


def publish(
    folder: Annotated[
        Path, typer.Argument(metavar="DICTIONARY", help="A dictionary's folder.")
    ],
    registry: At,
) -> None:
    """Copy a dictionary's folder into a registry as its next version.

    It is not made current; `activate` does that.
    """
    from ribolex.registry.opening import open_registry

    typer.echo(f"published {open_registry(registry).publish(folder)}")


def copy(
    registry: At,
    source: Annotated[
        str,
        typer.Option(
            "--from", metavar="FOLDER", help='Another registry: a folder or "bundled".'
        ),
    ],
) -> None:
    """Bring a registry's current dictionaries to another.

    What that one has lost sight of is found again first, as by `reconcile`. Each is
    made current there if nothing of its name is; version numbers are given anew. A
    second time there is nothing to do.
    """
    from ribolex.errors import DictionaryExistsError
    from ribolex.registry.opening import BUNDLED, open_registry

    if "://" in source:
        raise typer.BadParameter(f'--from {source}: expected a folder or "{BUNDLED}"')
    ours, theirs = open_registry(registry), open_registry(source)
    root = Path(str(theirs))
    if not root.is_dir():
        raise typer.BadParameter(f"--from {source}: there is no such folder")
    for line in ours.reconcile():
        typer.echo(line)
    for entry in theirs.list():
        if not entry.is_current:
            continue
        try:
            ref = ours.publish(root / entry.name / str(entry.version))
        except DictionaryExistsError as error:
            ref = error.ref
            typer.echo(f"{ref} is there already")
        else:
            typer.echo(f"published {ref}")
        if ref in {known.ref for known in ours.list() if known.is_retired}:
            typer.echo(f"{ref} is retired and stays so")
        elif ours.current(entry.name) is None:
            ours.set_current(entry.name, int(ref.rpartition("@")[2]))
            typer.echo(f"{ref} is current")


def current(name: Annotated[str, typer.Argument()], registry: At) -> None:
    """Print the current version of a dictionary, as NAME@VERSION."""
    from ribolex.errors import DictionaryNotFoundError
    from ribolex.registry.opening import open_registry

    version = open_registry(registry).current(name)
    if version is None:
        raise DictionaryNotFoundError(name, f"no version of {name!r} is current")
    typer.echo(f"{name}@{version}")


def activate(
    ref: RefArgument,
    registry: At,
    expected: Annotated[
        int | None,
        typer.Option(min=0, help="Only if this version is current now; 0 for none."),
    ] = None,
) -> None:
    """Make a version current, be it a newer or an older one."""
    from ribolex.registry.opening import open_registry
    from ribolex.registry.protocol import parse_pinned

    store = open_registry(registry)
    name, version = parse_pinned(ref)
    before = store.current(name) if expected is None else expected or None
    if before == version:
        typer.echo(f"{ref} is current already")
        return
    store.set_current(name, version, before)
    typer.echo(f"{ref} is current, before it: {f'{name}@{before}' if before else '-'}")


def retire(ref: RefArgument, registry: At) -> None:
    """Withdraw a version for good; its files stay until `purge`."""
    from ribolex.registry.opening import open_registry

    open_registry(registry).retire(ref)
    typer.echo(f"{ref} is retired")


def purge(ref: RefArgument, registry: At) -> None:
    """Remove a retired version's files; its number is not reused."""
    from ribolex.registry.opening import open_registry

    open_registry(registry).purge(ref)
    typer.echo(f"the files of {ref} are removed")


def show_log(registry: At, as_json: AsJson = False) -> None:
    """Show what was published, made current, retired; and when."""
    from ribolex.registry.opening import open_registry

    events = open_registry(registry).history()
    if as_json:
        typer.echo(json.dumps([asdict(event) for event in events]))
        return
    table = _table("time (UTC)", "what", "dictionary")
    for event in events:
        time = datetime.fromtimestamp(event.time_s, UTC)
        table.add_row(f"{time:%Y-%m-%d %H:%M:%S}", event.kind, Text(event.ref))
    _console().print(table)


def reconcile(registry: At) -> None:
    """Mend what crashes and losses left, and say what that was."""
    from ribolex.registry.opening import open_registry

    for line in open_registry(registry).reconcile() or ["nothing to mend"]:
        typer.echo(line)


def _offer(group: typer.Typer, command: Callable[..., None]) -> None:
    """Adds a command, or joins it with the one of its name that asks a server."""
    for known in group.registered_commands:
        if known.name == command.__name__ and known.callback is not None:
            # Joined already where one process sets up its commands twice.
            if "registry" not in inspect.signature(known.callback).parameters:
                known.callback = _joined(known.callback, command)
            return
    group.command()(command)


def _joined(
    remote: Callable[..., None], local: Callable[..., None]
) -> Callable[..., None]:
    """Returns a command that takes the options of both; a registry decides."""
    theirs, ours = (inspect.signature(one).parameters for one in (remote, local))

    @functools.wraps(remote)
    def run(context: typer.Context, **given: Any) -> None:
        registry = given.pop("registry")
        told = {name: _is_told(context, name) for name in ("registry", "server")}
        if told["registry"] and told["server"]:
            raise typer.BadParameter("give one of --registry and --server")
        if registry is None or told["server"]:
            remote(**given)
            return
        local(
            registry=registry, **{name: given[name] for name in ours if name in given}
        )

    registry = ours["registry"].replace(
        default=None, kind=inspect.Parameter.KEYWORD_ONLY, annotation=_Maybe
    )
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY)
    shown = [context, *theirs.values(), registry]
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {
        **get_type_hints(remote, include_extras=True),
        "registry": _Maybe,
        "context": typer.Context,
    }
    return run


def _is_told(context: typer.Context, name: str) -> bool:
    """Returns whether an option stands on the command line itself."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _console() -> Console:
    """Returns standard output: as wide as the terminal, or wide where it is none."""
    is_fixed = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if is_fixed else _WIDE)

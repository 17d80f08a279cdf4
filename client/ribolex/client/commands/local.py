"""The options by which a command works on a folder of collections without a server.

It starts a server of its own behind a private socket and stops it in the end, so that
answers, and what is in the folder, are a server's.
"""

import functools
import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, get_type_hints

import typer

from ribolex.client.child import running_server
from ribolex.client.client import Client
from ribolex.client.commands import options
from ribolex.client.commands.server import Server, with_server
from ribolex.client.errors import CollectionNotFoundError

DEFAULT_DATA = Path("~/.local/share/ribolex")
"""Where a server keeps its collections unless it is told otherwise."""
_LOCAL_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Place:
    """Who is asked: a server, or one of our own that works on a folder."""

    server: Server
    is_local: bool
    """Whether it is one of our own."""
    data: Path | None
    """Its folder; None for one that goes with it."""
    serving: tuple[str, ...]
    """What it is told beside that."""

    def among(self, collection: str | None) -> "Place":
        """Returns the same, without a folder if no collection in it is asked about."""
        return self if collection else replace(self, data=None)

    @contextmanager
    def connect(self, timeout_s: float, collection: str = "") -> Iterator[Client]:
        """Gives a client of whoever is asked.

        Args:
            timeout_s: longest wait for one answer of a server.
            collection: one that must be in the folder; empty: none need be.

        Raises:
            CollectionNotFoundError: it is not there.
            NotReadyError: the folder cannot be worked on.
        """
        if not self.is_local:
            with self.server.connect(timeout_s) as client:
                yield client
            return
        data = self.data.expanduser() if self.data is not None else None
        if data is not None and collection and not (data / collection).is_dir():
            raise CollectionNotFoundError(f"no collection {collection!r} in {data}")
        with (
            tempfile.TemporaryDirectory(prefix="ribolex-") as folder,
            running_server(Path(folder), data, self.serving) as address,
            Client(address, timeout_s=max(timeout_s, _LOCAL_TIMEOUT_S)) as client,
        ):
            yield client


def with_place(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command, in place of its parameter `place`, the options for one."""
    return _with(command, _place)


def with_model(command: Callable[..., None]) -> Callable[..., None]:
    """Does the same for a command that needs no collections, only a model."""
    return _with(command, _model)


def _with(
    command: Callable[..., None], make: Callable[..., Place]
) -> Callable[..., None]:
    given = inspect.signature(make).parameters
    own = inspect.signature(command).parameters

    @functools.wraps(command)
    def run(**told: object) -> None:
        chosen = {name: told.pop(name) for name in given}
        command(place=make(**chosen), **told)

    shown = [
        each.replace(kind=each.KEYWORD_ONLY)
        for each in (*own.values(), *given.values())
        if each.name != "place"
    ]
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {
        **get_type_hints(command, include_extras=True),
        **get_type_hints(make, include_extras=True),
        "return": None,
    }
    return with_server(run)


def _place(
    server: Server,
    local: Annotated[
        bool,
        typer.Option("--local", help="Work on the folder --data, with no server."),
    ] = False,
    data: Annotated[
        Path,
        typer.Option(
            help="With --local: folder of collections; a server can take it over.",
            envvar="RIBOLEX_DATA",
        ),
    ] = DEFAULT_DATA,
    model: options.Model = "bundled",
    registry: options.Registry = None,
    device: options.Device = "cpu",
    precision: options.ModelPrecision = options.Precision.FLOAT32,
) -> Place:
    place = _model(server, local, model, registry, device, precision)
    return replace(place, data=data) if local else place


def _model(
    server: Server,
    local: Annotated[
        bool,
        typer.Option("--local", help="Start a server for this, and stop it again."),
    ] = False,
    model: options.Model = "bundled",
    registry: options.Registry = None,
    device: options.Device = "cpu",
    precision: options.ModelPrecision = options.Precision.FLOAT32,
) -> Place:
    serving = ["--model", model, "--device", device, "--precision", precision.value]
    if registry is not None:
        serving += ["--registry", registry]
    return Place(server, local, None, tuple(serving))

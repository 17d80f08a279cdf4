"""Puts a named model into the cache: from its host, or from a file at hand.

A model appears in the cache whole, verified and once loaded, or not at all. Two
pulls of one model at once take turns. Knows nothing of the terminal.
"""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ribolex.disk import sync
from ribolex.errors import (
    CorruptArtefactError,
    CorruptInputError,
    ModelNotFoundError,
)
from ribolex.lm.hub import (
    ORIGIN_FILE,
    Check,
    Model,
    Origin,
    Source,
    cache_folder,
    find_model,
    model_folder,
    read_origin,
)
from ribolex.lm.weights import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    config_text,
    digest_network,
    read_weights,
    weights_file,
)
from ribolex.models.hosts import describe
from ribolex.models.transfer import Progress, Remote, digest_file, fetch


class Pulled(NamedTuple):
    """A model in the cache, and whether it had to be put there."""

    origin: Origin
    is_new: bool


def pull(
    name: str,
    source_name: str | None = None,
    *,
    sha256: str | None = None,
    mirror: str | None = None,
    on_progress: Progress = lambda done, total: None,
    on_wait: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Pulled:
    """Fetches a model unless it is in the cache, undamaged; takes minutes.

    Args:
        name: as the catalogue has it.
        source_name: where to fetch it; None for where it is now, else the first.
        sha256: what the file must have, whatever its host states.
        mirror: address that answers in place of the host's own.
        on_progress: told of every piece that arrives.
        on_wait: called if another process is at the same model, before waiting.
        sleep: waits between attempts.

    Raises:
        ModelNotFoundError: no such model or source.
        DownloadError: it could not be fetched, or is not what was stated.
        CorruptInputError: it was fetched as stated, but is not that model.
    """
    model = find_model(name)
    with _turn(name, on_wait):
        kept = _kept(name)
        if (
            kept
            and source_name in (None, kept.source)
            and sha256 in (None, kept.sha256)
        ):
            return Pulled(kept, False)
        source = _choose(model, source_name or (kept.source if kept else None))
        remote = _with_pin(describe(source, mirror, sleep), sha256)
        staging = _staging(name, source.name)
        fetch(remote, staging / source.file, on_progress, sleep)
        origin = _settle(model, source, remote, staging)
        return Pulled(origin, True)


def adopt(
    name: str,
    path: Path,
    *,
    sha256: str | None = None,
    on_wait: Callable[[], None] = lambda: None,
) -> Pulled:
    """Copies weights at hand into the cache, if they are those of the model's size.

    Args:
        name: as the catalogue has it.
        path: a file or folder as `load_network` reads it.
        sha256: what the file of weights must have.
        on_wait: as for `pull`.

    Raises:
        ModelNotFoundError: no such model.
        CorruptInputError: it cannot be read, has other sizes or another checksum.
    """
    model = find_model(name)
    file = weights_file(path)
    if not file.is_file():
        raise CorruptInputError(file, "there is no such file")
    with _turn(name, on_wait):
        found = digest_file(file, ["sha256"])["sha256"]
        if sha256 not in (None, found):
            message = f"its sha256 is {found}, expected {sha256} (by --sha256)"
            raise CorruptInputError(file, message)
        same = next((one for one in model.sources if one.sha256 == found), None)
        is_st = file.suffix == ".safetensors"
        source = Source(
            model=name,
            name=same.name if same else "file",
            host="zenodo",
            shelf="",
            file=WEIGHTS_FILE if is_st else f"{file.stem}.pt",
            licence=same.licence if same else "not known to Ribolex",
        )
        stated = (Check("sha256", found, "Ribolex"),) if same else ()
        pinned = (Check("sha256", found, "--sha256"),) if sha256 else ()
        remote = Remote(file.resolve().as_uri(), file.stat().st_size, stated + pinned)
        staging = _staging(name, "file")
        shutil.copyfile(file, staging / source.file)
        if digest_file(staging / source.file, ["sha256"])["sha256"] != found:
            raise CorruptInputError(file, "changed while it was copied; try again")
        return Pulled(_settle(model, source, remote, staging, told=file), True)


def check_damage(origin: Origin) -> None:
    """Reads the weights in the cache once, to see whether they are as they were.

    Raises:
        CorruptArtefactError: they are not, or are gone.
    """
    file = model_folder(origin.model) / origin.file
    again = f"fetch it again: ribolex models pull {origin.model}"
    if not file.is_file():
        raise CorruptArtefactError(file, f"is gone; {again}")
    found = digest_file(file, ["sha256"])["sha256"]
    if found != origin.sha256:
        message = f"is damaged: its sha256 is {found}, expected {origin.sha256}; "
        raise CorruptArtefactError(file, message + again)


def _kept(name: str) -> Origin | None:
    """Returns what is in the cache, if it is as it was put there."""
    try:
        origin = read_origin(name)
        if origin:
            check_damage(origin)
    except CorruptArtefactError:
        return None
    return origin


def _choose(model: Model, name: str | None) -> Source:
    if not model.sources:
        message = "no weights of this size are published; --from FILE takes your own"
        raise ModelNotFoundError(model.name, message)
    if name in (None, "file"):
        return model.sources[0]
    for source in model.sources:
        if source.name == name:
            return source
    known = " or ".join(source.name for source in model.sources)
    raise ModelNotFoundError(model.name, f"has no source {name!r}, expected {known}")


def _with_pin(remote: Remote, sha256: str | None) -> Remote:
    """Returns the file as described, but with the caller's checksum before all."""
    if sha256 is None:
        return remote
    others = [check for check in remote.checks if check.stated_by != "Ribolex"]
    checks = (Check("sha256", sha256, "--sha256"), *others)
    return Remote(remote.url, remote.size_bytes, checks, remote.revision)


def _staging(name: str, source: str) -> Path:
    folder = cache_folder() / "partial" / f"{name}.{source}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _turn(name: str, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds the model's lock, which the system lets go of if this process dies."""
    folder = cache_folder() / "partial"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _settle(
    model: Model,
    source: Source,
    remote: Remote,
    staging: Path,
    told: Path | None = None,
) -> Origin:
    """Loads what is staged and moves it to its place; removes it if it is no good."""
    try:
        origin = _examine(model, source, remote, staging)
    except CorruptInputError as error:
        shutil.rmtree(staging)
        # The copy that the message speaks of is gone.
        raise CorruptInputError(told or remote.url, error.message) from error
    (staging / ORIGIN_FILE).write_text(config_text(origin.to_json()))
    for file in staging.iterdir():
        sync(file)
    place = model_folder(model.name)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        old = cache_folder() / "partial" / f"{model.name}.old"
        shutil.rmtree(old, ignore_errors=True)
        place.replace(old)
        staging.replace(place)
        shutil.rmtree(old)
    else:
        staging.replace(place)
    sync(place.parent)
    return origin


def _examine(model: Model, source: Source, remote: Remote, staging: Path) -> Origin:
    file = staging / source.file
    for other in set(staging.iterdir()) - {file}:
        other.unlink()
    sizes = {"name": model.name, **model.config.to_json()}
    (staging / CONFIG_FILE).write_text(config_text(sizes))
    weights = read_weights(staging)
    got = weights.network.config
    if got != model.config:
        found = f"{got.n_layers} layers of {got.d_model}"
        expected = f"{model.config.n_layers} of {model.config.d_model}"
        message = f"holds {found}, expected {expected} as {model.name} has"
        raise CorruptInputError(file, message)
    return Origin(
        model=model.name,
        source=source.name,
        url=remote.url,
        revision=remote.revision,
        file=source.file,
        size_bytes=file.stat().st_size,
        sha256=digest_file(file, ["sha256"])["sha256"],
        verified=remote.checks,
        weights_digest=digest_network(weights.network),
        layout=weights.layout,
        licence=source.licence,
        pulled_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )

"""What Redis says is held against what the store holds, and mended where they differ.

Files are the truth about what was published, Redis about what is current. Knows
nothing of who published what is there.
"""

import logging
from collections.abc import Iterator, Sequence

from ribolex.dictionary import load_dictionary
from ribolex.errors import CorruptArtefactError, NotReadyError
from ribolex.registry import scripts
from ribolex.registry.lease import held
from ribolex.registry.metadata import Metadata
from ribolex.registry.store import Store

log = logging.getLogger(__name__)


def reconcile(metadata: Metadata, store: Store, lease_s: float) -> Sequence[str]:
    """Returns a line on each repair.

    What is whole in the store and unknown to Redis is announced, also where another
    version has the same content: collections may need either. A pointer to what is
    not there is taken away. Retirements known to one are told to the other.

    Raises:
        NotReadyError: Redis does not answer, or the store seems not to be mounted.
    """
    known = {name: metadata.versions(name) for name in metadata.names()}
    names = sorted({*known, *store.names()})
    if any(known.values()) and not any(store.versions(name) for name in names):
        raise NotReadyError(f"{store} holds no dictionary, though Redis knows some")
    repairs: list[str] = []
    for name in names:
        repairs += _adopt(metadata, store, name, lease_s)
        repairs += _compare(metadata, store, name)
    for line in repairs:
        log.warning("reconciled: %s", line)
    return repairs


def _adopt(
    metadata: Metadata, store: Store, name: str, lease_s: float
) -> Iterator[str]:
    """Announces what a publisher put in place and no more, or Redis has lost."""
    if set(store.versions(name)) <= metadata.versions(name):
        return
    try:
        with held(metadata.connection, name, lease_s, 0) as token:
            store.sweep(name)
            known = metadata.versions(name)
            for version in sorted(set(store.versions(name)) - known):
                yield from _adopt_one(metadata, store, name, version, token)
    except NotReadyError as error:
        log.warning("left for the next time: %s", error)


def _adopt_one(
    metadata: Metadata, store: Store, name: str, version: int, token: str
) -> Iterator[str]:
    try:
        manifest = store.manifest(name, version)
        with store.opened(name, version) as path:
            load_dictionary(path)
    except CorruptArtefactError as error:
        log.warning("unknown to Redis and not whole: %s", error)
        return
    if metadata.announce(manifest, token):
        yield f"{name}@{version} is there and was unknown to Redis"


def _compare(metadata: Metadata, store: Store, name: str) -> Iterator[str]:
    known, retired = metadata.versions(name), metadata.retired(name)
    marked = store.retired(name)
    for version in sorted((marked & known) - retired):
        if metadata.run(name, scripts.RETIRE, name, version).word == "ok":
            yield f"{name}@{version} is retired, which Redis did not know"
    for version in sorted(retired - marked):
        store.mark_retired(name, version)
        yield f"{name}@{version} is retired, which the store did not know"
    for version in sorted(known - retired - set(store.versions(name))):
        log.warning("%s@%d is known to Redis, its files are missing", name, version)
    current = metadata.current(name)
    if current is not None and not store.has(name, current):
        metadata.run(name, scripts.CLEAR_CURRENT, current)
        yield f"{name}@{current} was current and is not there"

"""The dictionaries that a server answers with: found, checked, loaded once.

Knows the registry and the model's identity; nothing of requests or of the engine.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from ribolex.dictionary import Dictionary, Identity
from ribolex.errors import DictionaryNotFoundError, IncompatibleDictionaryError
from ribolex.lm import LanguageModel
from ribolex.registry import Entry, Registry, parse_ref
from ribolex.server.index.atoms import Atoms

_MAX_LOADED = 16
"""Versions kept in memory; the one used longest ago goes first."""


@dataclass(frozen=True, slots=True)
class Shelved:
    """A dictionary in memory, with what is drawn from it once."""

    dictionary: Dictionary
    """Its autoencoder lies on the model's device."""
    atoms: Atoms


class Dictionaries:
    """A registry seen by one model. For one event loop; disk work runs in threads.

    Attributes:
        default: "name" or "name@version" of the one for requests that name none.
    """

    def __init__(
        self, registry: Registry, lm: LanguageModel, default: str, device: str
    ) -> None:
        self._registry = registry
        self._lm = lm
        self._device = device
        self._loading: OrderedDict[str, asyncio.Task[Shelved]] = OrderedDict()
        self.default = default

    async def get(self, name: str = "", version: int = 0) -> Shelved:
        """Returns a dictionary version.

        Args:
            name: empty for the default, whose version is then taken, too.
            version: 0 for the current one.

        Raises:
            DictionaryNotFoundError: there is none.
            CorruptArtefactError: its files are not what was published.
        """
        ref = await asyncio.to_thread(self._pin, name, version)
        if ref not in self._loading:
            task = asyncio.create_task(asyncio.to_thread(self._load, ref))
            task.add_done_callback(partial(self._forget_failed, ref))
            self._loading[ref] = task
            while len(self._loading) > _MAX_LOADED:
                self._loading.popitem(last=False)
        self._loading.move_to_end(ref)
        # Shielded: others may wait for the same.
        return await asyncio.shield(self._loading[ref])

    async def fitting(self, name: str = "", version: int = 0) -> Shelved:
        """Returns a dictionary version that the model can encode with; else as `get`.

        Raises:
            IncompatibleDictionaryError: it was made for another model.
        """
        found = await self.get(name, version)
        check_fit(found.dictionary.ref, found.dictionary.identity, self._lm)
        return found

    async def list(self) -> Sequence[Entry]:
        """Returns all versions: names in order, the newest of each first."""
        return await asyncio.to_thread(self._registry.list)

    def is_default(self, entry: Entry) -> bool:
        """Returns whether requests that name no dictionary get this one."""
        name, version = parse_ref(self.default)
        if version is None:
            return entry.name == name and entry.is_current
        return (entry.name, entry.version) == (name, version)

    def _pin(self, name: str, version: int) -> str:
        """Returns "name@version" of what is asked for. Reads the disk."""
        asked = name or self.default
        if version:
            asked = f"{parse_ref(asked).name}@{version}"
        parsed = parse_ref(asked)
        if parsed.version is not None:
            return asked
        current = self._registry.current(parsed.name)
        if current is None:
            raise DictionaryNotFoundError(asked)
        return f"{asked}@{current}"

    def _forget_failed(self, ref: str, task: asyncio.Task[Shelved]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if failed and self._loading.get(ref) is task:
            del self._loading[ref]

    def _load(self, ref: str) -> Shelved:
        found = self._registry.get(ref)
        atoms = Atoms(found.sae.W_dec.numpy())
        return Shelved(replace(found, sae=found.sae.to(self._device)), atoms)


def check_fit(ref: str, identity: Identity, lm: LanguageModel) -> None:
    """Does nothing if a dictionary was made for a model.

    Raises:
        IncompatibleDictionaryError: it was not; says what differs.
    """
    checks = [
        ("lm_digest", identity.lm_digest, lm.digest),
        ("d_in", identity.d_in, lm.config.d_model),
        ("level", identity.level, "nucleotide"),
        ("kind", identity.kind, "sae"),
    ]
    for what, got, expected in checks:
        if got != expected:
            raise IncompatibleDictionaryError(ref, what, got, expected)
    if not 1 <= identity.layer <= lm.config.n_layers:
        raise IncompatibleDictionaryError(
            ref, "layer", identity.layer, f"1 to {lm.config.n_layers}"
        )


def choose_default(registry: Registry, lm: LanguageModel) -> str:
    """Returns the name of the first dictionary whose current version fits a model.

    Raises:
        DictionaryNotFoundError: there is none.
    """
    for entry in registry.list():
        try:
            check_fit(entry.ref, entry.identity, lm)
        except IncompatibleDictionaryError:
            continue
        if entry.is_current:
            return entry.name
    message = (
        f"no dictionary here was trained on {lm.name} (weights {lm.digest[:12]}); "
        "train one with `ribolex train --lm`, or name another registry"
    )
    raise DictionaryNotFoundError("", message)

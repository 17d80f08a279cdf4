"""The dictionaries that a server answers with: found, checked, one of them served.

Knows the registry and the model's identity; nothing of requests or of the engine, nor
of when another version is to be served.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace

from ribolex.dictionary import Dictionary, Identity
from ribolex.errors import (
    DictionaryNotFoundError,
    IncompatibleDictionaryError,
    NotReadyError,
)
from ribolex.lm import LanguageModel
from ribolex.registry import Entry, Registry, parse_ref
from ribolex.registry.lineage import find_ancestor
from ribolex.server.index.atoms import Atoms
from ribolex.server.index.warming import warm_up
from ribolex.server.shelf import Shelf, Shelved


class Dictionaries:
    """A registry seen by one model. For one event loop; disk work runs in threads.

    Whoever asks for the name that is served gets the version in memory, with no look
    into the registry, and keeps it for as long as it takes.

    Attributes:
        registry: Where they come from.
        default: "name" or "name@version" of the one for requests that name none.
        served_name: The name whose current version is served; "" if the default is
            pinned to a version.
        serving: That version, once it was loaded.
        previous: The version served before it, kept to roll back to.
        currents: Current versions of all names, as far as they were heard of.
    """

    def __init__(
        self,
        registry: Registry,
        lm: LanguageModel,
        default: str,
        device: str,
        vet: Callable[[Dictionary], Awaitable[None]],
    ) -> None:
        """Sets it up; `start` loads the default.

        Args:
            registry: where they come from.
            lm: the model that they must fit.
            default: "name" or "name@version".
            device: where the model is.
            vet: raises if a dictionary of that model is not to be encoded with here.
        """
        self._lm = lm
        self._device = device
        self._bound: Callable[[], Collection[str]] = lambda: ()
        self._shelf = Shelf(self._load, vet, lambda: self._bound())
        self.registry = registry
        self.default = default
        name, version = parse_ref(default)
        self.served_name = name if version is None else ""
        self.serving: Shelved | None = None
        self.previous: Shelved | None = None
        self.currents: dict[str, int] = {}

    @property
    def n_loaded(self) -> int:
        """Versions in memory."""
        return len(self._shelf)

    def bind(self, bound: Callable[[], Collection[str]]) -> None:
        """Says which versions ("name@version") stay in memory whatever happens."""
        self._bound = bound

    async def start(self) -> Shelved:
        """Loads the default and returns it; raises as `fitting`."""
        found = await self.fitting()
        if self.served_name:
            self.exchange(found)
        else:
            self._shelf.keep([found.ref])
        return found

    async def get(self, name: str = "", version: int = 0) -> Shelved:
        """Returns a dictionary version.

        Args:
            name: empty for the default, whose version is then taken, too.
            version: 0 for the current one.

        Raises:
            DictionaryNotFoundError: there is none.
            CorruptArtefactError: its files are not what was published.
            NotReadyError: it is not in memory, and the registry does not answer.
        """
        pinned = parse_ref(name or self.default)
        version = version or pinned.version or 0
        serving = self.serving
        if (
            serving is not None
            and pinned.name == self.served_name
            and version in (0, serving.dictionary.version)
        ):
            return serving
        if not version:
            version = await self._current(pinned.name)
        return await self._shelf.get(f"{pinned.name}@{version}")

    async def fitting(self, name: str = "", version: int = 0) -> Shelved:
        """Returns a dictionary version that the model can encode with; else as `get`.

        Raises:
            IncompatibleDictionaryError: it was made for another model, or means other
                features here than where it was made.
        """
        found = await self.get(name, version)
        if found is self.serving:
            return found
        check_fit(found.ref, found.dictionary.identity, self._lm)
        return await self._shelf.vetted(found.ref)

    def exchange(self, found: Shelved) -> None:
        """Serves another version from now on; the one before it stays, none older."""
        if self.serving is not None and self.serving.ref != found.ref:
            self.previous = self.serving
        self.serving = found
        kept = [found.ref] if self.previous is None else [found.ref, self.previous.ref]
        self._shelf.keep(kept)

    def let_go(self, ref: str) -> None:
        """Gives a version's memory back, unless it must stay."""
        self._shelf.drop(ref)

    def forget(self, ref: str) -> None:
        """Gives a version's memory back, unless it is served or bound."""
        if self.previous is not None and self.previous.ref == ref:
            self.previous = None
            self._shelf.keep([self.serving.ref] if self.serving else [])
        self._shelf.drop(ref)

    async def list(self) -> Sequence[Entry]:
        """Returns all versions: names in order, the newest of each first."""
        return await asyncio.to_thread(self.registry.list)

    def is_default(self, entry: Entry) -> bool:
        """Returns whether requests that name no dictionary get this one."""
        name, version = parse_ref(self.default)
        if version is None and self.serving is not None:
            version = self.serving.dictionary.version
        return (entry.name, entry.version) == (name, version)

    async def _current(self, name: str) -> int:
        try:
            found = await asyncio.to_thread(self.registry.current, name)
        except NotReadyError:
            if name not in self.currents:
                raise
            found = self.currents[name]
        if found is None:
            raise DictionaryNotFoundError(name)
        return found

    def _load(self, ref: str) -> Shelved:
        found = self.registry.get(ref)
        if found.alignment is not None:
            warm_up()
        atoms = Atoms(found.sae.W_dec.numpy(), found.sigma.numpy())
        ancestor = ""
        if found.identity.ancestor:
            ancestor = find_ancestor(self.registry.list(), found)
        on_device = replace(found, sae=found.sae.to(self._device))
        return Shelved(on_device, atoms, ancestor)


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
    """Returns the name of the dictionary to use where none is named.

    That is the default of the box if the registry has it, else the first by name. Its
    current version fits the model.

    Args:
        registry: to choose from.
        lm: the model.

    Raises:
        DictionaryNotFoundError: there is none.
    """
    preferred = ""
    with contextlib.suppress(ImportError):  # the box need not be installed
        from ribolex_bundle import DEFAULT_DICTIONARY

        preferred = DEFAULT_DICTIONARY
    for entry in sorted(registry.list(), key=lambda entry: entry.name != preferred):
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

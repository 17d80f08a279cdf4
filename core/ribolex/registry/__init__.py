"""Where published dictionaries are kept, by name and version.

A version is immutable and never reused; which one is current is a pointer that moves
apart from publishing. Who serves follows the events. `Registry` says what any of them
does; `FolderRegistry` needs nothing but a folder, `RedisRegistry` serves
several machines. `open_registry` takes what a user writes.

The names are loaded when they are asked for: `cli` is here, and must start without
PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ribolex.registry.folder import FolderRegistry
    from ribolex.registry.opening import open_registry
    from ribolex.registry.protocol import (
        Entry,
        Event,
        PinnedRef,
        Ref,
        Registry,
        parse_pinned,
        parse_ref,
    )
    from ribolex.registry.redis_registry import RedisRegistry

__all__ = [
    "Entry",
    "Event",
    "FolderRegistry",
    "PinnedRef",
    "RedisRegistry",
    "Ref",
    "Registry",
    "open_registry",
    "parse_pinned",
    "parse_ref",
]

_ELSEWHERE = {
    "FolderRegistry": "folder",
    "RedisRegistry": "redis_registry",
    "open_registry": "opening",
}


def __getattr__(name: str) -> Any:
    """Returns a public name from the module that it lives in."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_ELSEWHERE.get(name, 'protocol')}")
    return getattr(module, name)

"""Where published dictionaries are kept, by name and version.

A version is immutable and never reused; which one is current is a pointer that moves
apart from publishing. Who serves follows the events. `Registry` says what any of them
does; `FolderRegistry` needs nothing but a folder, `RedisRegistry` serves
several machines. `open_registry` takes what a user writes. `open_requests` gives what
is asked for of the trainer beside one.

The names are loaded when they are asked for: `cli` is here, and must start without
PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ribolex.registry.folder import FolderRegistry
    from ribolex.registry.opening import open_registry, open_requests
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
    from ribolex.registry.requests import Requests, TrainRequest

__all__ = [
    "Entry",
    "Event",
    "FolderRegistry",
    "PinnedRef",
    "RedisRegistry",
    "Ref",
    "Registry",
    "Requests",
    "TrainRequest",
    "open_registry",
    "open_requests",
    "parse_pinned",
    "parse_ref",
]

_ELSEWHERE = {
    "FolderRegistry": "folder",
    "RedisRegistry": "redis_registry",
    "Requests": "requests",
    "TrainRequest": "requests",
    "open_registry": "opening",
    "open_requests": "opening",
}


def __getattr__(name: str) -> Any:
    """Returns a public name from the module that it lives in."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_ELSEWHERE.get(name, 'protocol')}")
    return getattr(module, name)

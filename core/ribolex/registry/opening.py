"""From what a user writes to the registry meant: a folder, Redis, or the box."""

from pathlib import Path

from ribolex.errors import InvalidRequestError
from ribolex.registry.folder import FolderRegistry
from ribolex.registry.protocol import Registry

BUNDLED = "bundled"
"""Stands for the dictionaries that come in the box."""


def open_registry(text: str) -> Registry:
    """Returns the registry at a path, a URL, or in the box for "bundled".

    Raises:
        InvalidRequestError: the text is a URL of something else.
    """
    if text == BUNDLED:
        from ribolex_bundle import dictionaries_path

        return FolderRegistry(dictionaries_path())
    scheme, mark, _ = text.partition("://")
    if mark:
        raise InvalidRequestError("registry", f"{scheme}:// is no registry")
    return FolderRegistry(Path(text))

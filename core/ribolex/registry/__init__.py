"""Where published dictionaries are kept, by name and version.

A version is immutable and never reused; which one is current is a pointer that moves
apart from publishing. `FolderRegistry` needs nothing but a folder.
"""

from ribolex.registry.folder import Entry, FolderRegistry, Ref, parse_ref

__all__ = ["Entry", "FolderRegistry", "Ref", "parse_ref"]

"""Files that are whole after a crash: what was renamed is there, and all of it.

Knows nothing of what files hold.
"""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Waits until a file, or the list of files of a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(file: Path, content: bytes) -> None:
    """Writes a file so that readers see the old or the new one whole.

    For one writer of a file at a time.
    """
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_bytes(content)
    sync(temporary)
    temporary.replace(file)
    sync(file.parent)

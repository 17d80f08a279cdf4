"""Which format a path holds, told by the names of its files.

Knows nothing of what is in them.
"""

from pathlib import Path

from ribolex.errors import CorruptInputError
from ribolex.trainer.interchange import saelens, sparsify
from ribolex.trainer.interchange.interplm import read_interplm
from ribolex.trainer.interchange.saelens import read_saelens
from ribolex.trainer.interchange.source import Reading, Source
from ribolex.trainer.interchange.sparsify import read_sparsify

FORMATS = ("saelens", "sparsify", "interplm")

_WEIGHTS = ("ae.pt", "ae_normalized.pt")


def read_source(path: Path, form: str | None, reading: Reading) -> Source:
    """Returns the autoencoder at a path.

    Args:
        path: a folder of SAELens or sparsify, or an ae.pt or the folder that it is in.
        form: one of `FORMATS`; None to go by the names of the files.
        reading: what the files do not tell.

    Raises:
        CorruptInputError: no such format is there, or it cannot be read exactly.
        InvalidRequestError: the files leave open what `reading` must say.
    """
    if not path.exists():
        raise CorruptInputError(path, "there is no such file or folder")
    form = form or _form(path)
    if form == "saelens":
        return read_saelens(path, reading)
    if form == "sparsify":
        return read_sparsify(path, reading)
    return read_interplm(_weights_file(path), reading)


def _form(path: Path) -> str:
    if path.is_file():
        return "interplm"
    if (path / saelens.WEIGHTS_FILE).exists():
        return "saelens"
    if (path / sparsify.WEIGHTS_FILE).exists():
        return "sparsify"
    if any((path / name).exists() for name in _WEIGHTS):
        return "interplm"
    files = (saelens.WEIGHTS_FILE, sparsify.WEIGHTS_FILE, *_WEIGHTS)
    raise CorruptInputError(path, f"holds none of {', '.join(files)}")


def _weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = [path / name for name in _WEIGHTS if (path / name).exists()]
    if len(found) != 1:
        names = " and ".join(file.name for file in found) or "no ae.pt"
        raise CorruptInputError(path, f"holds {names}; name one file")
    return found[0]

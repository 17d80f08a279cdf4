"""How pictures are drawn and written, told once; matplotlib is loaded when needed.

The same numbers give the same bytes. Knows nothing of what is drawn.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ribolex.client.archive import replacing
from ribolex.client.errors import InvalidRequestError, NotReadyError

SUFFIXES = (".svg", ".png", ".pdf")
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "svg.hashsalt": "ribolex",
    "svg.fonttype": "none",
}
_METADATA = {
    ".svg": {"Date": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None},
}


def check_suffix(path: Path) -> None:
    """Does nothing if a picture can be written under such a name.

    Raises:
        InvalidRequestError: it does not end in one of SUFFIXES.
    """
    if path.suffix not in SUFFIXES:
        expected = ", ".join(SUFFIXES)
        raise InvalidRequestError(f"{path.name!r} does not end in one of {expected}")


@contextmanager
def plotting() -> Iterator[Callable[..., Any]]:
    """Gives what makes a figure, in our style for the time of the block.

    Raises:
        NotReadyError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise NotReadyError(f"pictures need ribolex[plot]: {error}") from error
    style: dict[Any, Any] = dict(_STYLE)
    with mpl.rc_context(style):
        yield Figure


def save(figure: Any, path: Path) -> None:
    """Writes a figure, all of it or nothing."""
    with replacing(path) as staged:
        kind = path.suffix.removeprefix(".")
        metadata = _METADATA[path.suffix]
        figure.savefig(staged, format=kind, dpi=160, metadata=metadata)

"""The model, the dictionaries and the sample of RNAs in the box.

Each function gives the path of one part, after a look that it is there. What the
files hold is told by the cards beside them; this package opens none of them and
knows no file format.
"""

from pathlib import Path

__all__ = ["DEFAULT_DICTIONARY", "dictionaries_path", "model_path", "sample_path"]

DEFAULT_DICTIONARY = "ribolex-mini-l6"
"""Name of the dictionary to use where none is named; its card says why this one."""

_ROOT = Path(__file__).parent


def model_path() -> Path:
    """Gives the folder of the bundled language model.

    Raises:
        FileNotFoundError: The installation lacks it.
    """
    return _existing(_ROOT / "model", "the bundled language model")


def dictionaries_path() -> Path:
    """Gives the root of the folder registry with the bundled dictionaries.

    Raises:
        FileNotFoundError: The installation lacks it.
    """
    return _existing(_ROOT / "dictionaries", "the registry of bundled dictionaries")


def sample_path() -> Path:
    """Gives the sample of RNAs, a gzipped table of tab-separated values.

    Its columns are family_acc, family, type, clan, name, sequence and structure,
    named in the first line.

    Raises:
        FileNotFoundError: The installation lacks it.
    """
    return _existing(_ROOT / "sample" / "rfam_sample.tsv.gz", "the sample of RNAs")


def _existing(path: Path, what: str) -> Path:
    """Gives the path back if something is there."""
    if not path.exists():
        raise FileNotFoundError(
            f"{what} is missing from this installation of ribolex-bundle: "
            f"nothing at {path}. Reinstall ribolex-bundle, or give a path of your own."
        )
    return path

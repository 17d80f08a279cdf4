"""Which models have names, who publishes their weights, and where they are kept here.

Knows no network and reads no weights; fetching them is told in `ribolex.models`.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ribolex.errors import CorruptArtefactError, ModelNotFoundError
from ribolex.lm.configuration import PRESETS, LmConfig

BUNDLED = "bundled"
"""Stands for the model in the box, where a name or a path is expected."""

CREDIT = (
    "RiNALMo: Penić, Vlašić, Huber, Wan, Šikić. Nature Communications 2025, "
    "doi:10.1038/s41467-025-60872-5. Code Apache-2.0, weights CC BY 4.0."
)
ORIGIN_FILE = "origin.json"

Host = Literal["zenodo", "hugging-face"]
BASES: dict[Host, tuple[str, str]] = {
    "zenodo": ("RIBOLEX_ZENODO_URL", "https://zenodo.org"),
    # The variable that Hugging Face's own tools take for a mirror.
    "hugging-face": ("HF_ENDPOINT", "https://huggingface.co"),
}
"""The variable that names a mirror, and the address without one, of each host."""


@dataclass(frozen=True, slots=True)
class Source:
    """One publication of a model's weights."""

    model: str
    name: str
    host: Host
    shelf: str
    """Number of the record, or name of the repository."""
    file: str
    licence: str
    sha256: str | None = None
    """Of the file, where it is known beforehand: a record never changes."""

    def address(self, base: str | None = None, revision: str = "main") -> str:
        """Returns the file's address, at its own host or at another that copies it."""
        base = base or BASES[self.host][1]
        if self.host == "zenodo":
            return f"{base}/records/{self.shelf}/files/{self.file}"
        return f"{base}/{self.shelf}/resolve/{revision}/{self.file}"

    def to_json(self) -> dict[str, str]:
        """Returns what people ask of it, as plain JSON values."""
        return {"name": self.name, "url": self.address(), "licence": self.licence}


class Model(NamedTuple):
    """A model with a name; without sources if nobody published weights of it."""

    name: str
    config: LmConfig
    sources: tuple[Source, ...]


class Check(NamedTuple):
    """One checksum that a file was found to have."""

    algorithm: str
    digest: str
    stated_by: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the weights in the cache came from, and what was verified of them."""

    model: str
    source: str
    """Name of the source; "file" for one that was handed over."""
    url: str
    revision: str
    """The host's own version of it; empty where it has none."""
    file: str
    size_bytes: int
    sha256: str
    """Of the file, when it was put here."""
    verified: tuple[Check, ...]
    weights_digest: str
    """SHA-256 of the float32 weights, the same for every layout."""
    layout: str
    licence: str
    pulled_at: str
    """UTC, ISO 8601."""

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return {**asdict(self), "verified": [c._asdict() for c in self.verified]}


def _published(size: str, sha256: str) -> Model:
    name = f"rinalmo-{size}"
    official = Source(
        model=name,
        name="official",
        host="zenodo",
        shelf="15043668",
        file=f"rinalmo_{size}_pretrained.pt",
        licence="CC BY 4.0",
        sha256=sha256,
    )
    other = Source(
        model=name,
        name="multimolecule",
        host="hugging-face",
        shelf=f"multimolecule/{name}",
        file="model.safetensors",
        licence="AGPL-3.0 by its own card; made from RiNALMo's weights, CC BY 4.0",
    )
    return Model(name, PRESETS[name], (official, other))


CATALOGUE: dict[str, Model] = {
    model.name: model
    for model in (
        # The size is the reference code's; neither place publishes weights of it.
        Model("rinalmo-nano", PRESETS["rinalmo-nano"], ()),
        _published(
            "micro", "910c73aa722061e8904a9b0d58e1e664c075fa78683fa364fcf099ae3f81ddf9"
        ),
        _published(
            "mega", "8e6d5799055dc96a556ac5dc4fbf882b677c86ccfeb072d42578d655890000b0"
        ),
        _published(
            "giga", "cd93c3f21eb3e767373c9491192686b5846247bd1110693e453c1dd0f321c0db"
        ),
    )
}
"""The models that have names, smallest first."""


def find_model(name: str) -> Model:
    """Returns the model of a name.

    Raises:
        ModelNotFoundError: lists the names there are.
    """
    if name not in CATALOGUE:
        known = ", ".join([BUNDLED, *CATALOGUE])
        raise ModelNotFoundError(name, f"is not known; expected a path, or {known}")
    return CATALOGUE[name]


def locate(path_or_name: str | Path) -> Path:
    """Returns where the weights lie that a name or path stands for.

    A string that is the name of a model means that model and no path; "./NAME" is
    a path all the same.

    Raises:
        ModelNotFoundError: the name is not known, or its weights are not here yet.
    """
    if path_or_name == BUNDLED:
        from ribolex_bundle import model_path

        return model_path()
    path = Path(path_or_name)
    if isinstance(path_or_name, Path):
        return path
    is_bare = path.name == path_or_name and not path.suffix
    if path_or_name not in CATALOGUE and (path.exists() or not is_bare):
        return path
    model = find_model(path_or_name)
    if read_origin(model.name) is None:
        message = "its weights are not on this machine yet; "
        raise ModelNotFoundError(model.name, f"{message}{advice(model)}")
    return model_folder(model.name)


def advice(model: Model) -> str:
    """Returns how a model's weights can be had."""
    if not model.sources:
        return "nobody publishes them: give a path, or pull with --from FILE"
    return f"fetch them with: ribolex models pull {model.name}"


def cache_folder() -> Path:
    """Returns the folder of what can be fetched again.

    $RIBOLEX_MODELS, else ribolex in $XDG_CACHE_HOME, else in ~/.cache.
    """
    if own := os.environ.get("RIBOLEX_MODELS"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "ribolex"


def model_folder(name: str) -> Path:
    """Returns where a model's weights are in the cache, or would be."""
    return cache_folder() / "models" / name


def read_origin(name: str) -> Origin | None:
    """Returns what is known of a model in the cache; None if it is not there.

    Raises:
        CorruptArtefactError: what is written beside the weights cannot be read.
    """
    path = model_folder(name) / ORIGIN_FILE
    if not path.is_file():
        return None
    try:
        fields = json.loads(path.read_text())
        checks = tuple(Check(**check) for check in fields.pop("verified"))
        return Origin(**fields, verified=checks)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"cannot be read; remove {path.parent} and pull {name} again"
        raise CorruptArtefactError(path, message) from error

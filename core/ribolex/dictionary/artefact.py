"""A dictionary as a folder: written whole or not at all, checked when opened.

    cfg.json, sae_weights.safetensors   the weights in SAELens' layout
    features.parquet                    what is known about each feature
    panel.safetensors                   RNAs with the codes they must give
    README.md, evaluation.json          the card, and all that was measured; optional
    alignment.safetensors               how RNAs are aligned by its codes; optional
    dictionary.json                     identity, and size and SHA-256 of the others

Knows nothing of versions, current or otherwise, beyond the number it is told.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ribolex.dictionary.alignment import AlignmentModel
from ribolex.dictionary.features import FeatureTable, read_features, write_features
from ribolex.dictionary.identity import FileEntry, Identity, Manifest, Standardisation
from ribolex.dictionary.panel import Panel, read_panel, write_panel
from ribolex.dictionary.sae import Sae
from ribolex.disk import sync
from ribolex.errors import (
    CorruptArtefactError,
    DictionaryExistsError,
    IncompatibleDictionaryError,
)

MANIFEST_FILE = "dictionary.json"
CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
FEATURES_FILE = "features.parquet"
PANEL_FILE = "panel.safetensors"
CARD_FILE = "README.md"
EVALUATION_FILE = "evaluation.json"
ALIGNMENT_FILE = "alignment.safetensors"
FILES = (CONFIG_FILE, WEIGHTS_FILE, FEATURES_FILE, PANEL_FILE)
EXTRAS = (CARD_FILE, EVALUATION_FILE, ALIGNMENT_FILE)

_SAELENS_VERSION = "6.54.0"
"""Files without a version >= 6 are rewritten by SAELens as it opens them."""


@dataclass(frozen=True, slots=True)
class Dictionary:
    """A trained autoencoder with its identity and evidence; immutable."""

    name: str
    version: int
    content_id: str
    """SHA-256 over identity and files, 64 hexadecimal digits."""
    identity: Identity
    sae: Sae
    features: FeatureTable
    panel: Panel
    extras: Mapping[str, bytes] = field(default_factory=dict)
    """Contents of the files that may be absent, by name."""
    alignment: AlignmentModel | None = None
    """None if nobody has learned one."""

    @property
    def ref(self) -> str:
        """The name that pins this version: "name@version"."""
        return f"{self.name}@{self.version}"

    @property
    def mean(self) -> Tensor:
        """The mean of what is rebuilt, which FVU is measured from: float32, CPU."""
        return torch.tensor(self._rebuilt.mean)

    @property
    def sigma(self) -> Tensor:
        """The deviation of each dimension of what is rebuilt: float32, CPU."""
        return torch.tensor(self._rebuilt.sigma)

    @property
    def _rebuilt(self) -> Standardisation:
        target = self.identity.target
        return target.standardisation if target else self.identity.standardisation

    def check_lm(self, digest: str) -> None:
        """Raises an error unless it was made for the language model of a digest.

        Raises:
            IncompatibleDictionaryError: it was not.
        """
        expected = self.identity.lm_digest
        if expected != digest:
            raise IncompatibleDictionaryError(self.ref, "lm_digest", expected, digest)


def write_dictionary(
    path: Path,
    *,
    name: str,
    identity: Identity,
    sae: Sae,
    features: FeatureTable,
    panel: Panel,
    version: int = 0,
    extras: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Writes a dictionary's folder; a reader sees all of it or nothing.

    Args:
        path: the folder to be; its parent exists.
        name: the dictionary's name.
        identity: what it is; widths as in `sae`.
        sae: weights with the standardisation folded in.
        features: one row a feature.
        panel: RNAs with their codes.
        version: 0 where a registry is to give one.
        extras: contents of files that may be absent, those of `EXTRAS`, by name.

    Raises:
        DictionaryExistsError: something is at `path`.
    """
    extras = extras or {}
    assert extras.keys() <= set(EXTRAS)
    if path.exists():
        raise DictionaryExistsError(str(path))
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        config = json.dumps(_saelens_config(sae, identity), indent=1)
        (temporary / CONFIG_FILE).write_text(config + "\n")
        # Not save_file, which lets nobody but the owner read what it writes.
        (temporary / WEIGHTS_FILE).write_bytes(save(_tensors(sae)))
        write_features(temporary / FEATURES_FILE, features)
        write_panel(temporary / PANEL_FILE, panel)
        for extra, content in extras.items():
            (temporary / extra).write_bytes(content)
        files = {name: _describe(temporary / name) for name in (*FILES, *extras)}
        manifest = Manifest.of(name, version, identity, files)
        seal(temporary, manifest, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return manifest


def seal(folder: Path, manifest: Manifest, path: Path) -> None:
    """Puts a folder with its manifest, written last, under its name for good."""
    for name in manifest.files:
        sync(folder / name)
    (folder / MANIFEST_FILE).write_bytes(manifest.to_bytes())
    sync(folder / MANIFEST_FILE)
    sync(folder)
    folder.rename(path)
    sync(path.parent)


def read_manifest(path: Path) -> Manifest:
    """Returns the manifest of a dictionary's folder; opens no other file.

    Raises:
        CorruptArtefactError: there is none, or it is not what was written.
    """
    file = path / MANIFEST_FILE
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CorruptArtefactError(file, "is missing or unreadable") from error
    return Manifest.from_bytes(data, str(file))


def load_dictionary(path: Path) -> Dictionary:
    """Returns the dictionary in a folder after checking every byte of it.

    Raises:
        CorruptArtefactError: names the file that is missing, or not what was
            written, or does not fit the others.
    """
    manifest = read_manifest(path)
    for name in FILES:
        if name not in manifest.files:
            raise CorruptArtefactError(path / MANIFEST_FILE, f"lists no {name}")
    for name, expected in manifest.files.items():
        _check(path / name, expected)
    sae = _read_sae(path, manifest.identity)
    features = read_features(path / FEATURES_FILE)
    if len(features) != sae.n_features:
        raise CorruptArtefactError(
            path / FEATURES_FILE,
            f"has {len(features)} rows, expected {sae.n_features}",
        )
    extras = {
        name: (path / name).read_bytes() for name in manifest.files.keys() - set(FILES)
    }
    return Dictionary(
        manifest.name,
        manifest.version,
        manifest.content_id,
        manifest.identity,
        sae,
        features,
        read_panel(path / PANEL_FILE),
        extras,
        _read_alignment(path, extras, manifest.identity),
    )


def _read_alignment(
    path: Path, extras: Mapping[str, bytes], identity: Identity
) -> AlignmentModel | None:
    if ALIGNMENT_FILE not in extras:
        return None
    file = path / ALIGNMENT_FILE
    found = AlignmentModel.from_bytes(extras[ALIGNMENT_FILE], file)
    if found.n_features != identity.n_features:
        raise CorruptArtefactError(
            file, f"has {found.n_features} features, expected {identity.n_features}"
        )
    return found


def _saelens_config(sae: Sae, identity: Identity) -> dict[str, object]:
    own: dict[str, object] = {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    if sae.threshold is not None:
        own = {}
    architecture: str = sae.architecture
    # SAELens knows no TopK transcoder; its TopK encodes and decodes one just so.
    if identity.target is not None and sae.threshold is not None:
        architecture, own = "jumprelu_transcoder", {"d_out": sae.d_out}
    return {
        "architecture": architecture,
        "d_in": sae.d_in,
        "d_sae": sae.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        **own,
        "metadata": {
            "sae_lens_version": _SAELENS_VERSION,
            "model_name": identity.lm_name,
            "hook_name": f"layer.{identity.layer}.{identity.hook}",
        },
    }


def _tensors(sae: Sae) -> dict[str, Tensor]:
    weights = {"W_enc": sae.W_enc, "b_enc": sae.b_enc, "W_dec": sae.W_dec}
    weights["b_dec"] = sae.b_dec
    if sae.threshold is not None:
        weights["threshold"] = sae.threshold
    return {
        name: tensor.detach().cpu().float().contiguous()
        for name, tensor in weights.items()
    }


def _read_sae(path: Path, identity: Identity) -> Sae:
    file = path / WEIGHTS_FILE
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise CorruptArtefactError(file, "cannot be read as weights") from error
    d_in, n_features = identity.d_in, identity.n_features
    shapes = {
        "W_enc": (d_in, n_features),
        "b_enc": (n_features,),
        "W_dec": (n_features, d_in),
        "b_dec": (d_in,),
    }
    if identity.activation == "jumprelu":
        shapes["threshold"] = (n_features,)
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != shapes:
        raise CorruptArtefactError(file, f"holds {found}, expected {shapes}")
    return Sae(**tensors, k=identity.k)


def _describe(file: Path) -> FileEntry:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileEntry(file.stat().st_size, digest)


def _check(file: Path, expected: FileEntry) -> None:
    try:
        size_bytes = file.stat().st_size
        if size_bytes != expected.size_bytes:
            raise CorruptArtefactError(
                file, f"is {size_bytes} bytes, expected {expected.size_bytes}"
            )
        digest = _describe(file).sha256
    except OSError as error:
        raise CorruptArtefactError(file, "is missing or unreadable") from error
    if digest != expected.sha256:
        raise CorruptArtefactError(
            file, f"SHA-256 is {digest}, expected {expected.sha256}"
        )

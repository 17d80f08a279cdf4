"""What a trainer process is told: a TOML file, checked key by key.

Knows nothing of what is done with it.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    field_validator,
    model_validator,
)

from ribolex.dictionary.identity import Level
from ribolex.errors import CorruptInputError, InvalidRequestError
from ribolex.lm import Hook
from ribolex.registry.opening import BUNDLED
from ribolex.registry.protocol import is_name
from ribolex.trainer.begin import Scale
from ribolex.trainer.fit import ObjectiveName

Device = Annotated[str, Field(pattern=r"cpu|cuda(:\d+)?")]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
FilePath = Annotated[Path, Strict(False)]
"""Relative ones go from the folder of the file that names them."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CorpusConfig(_Table):
    """Where RNAs come from: a corpus, or what to build one from, or tables."""

    folder: FilePath | None = None
    """Of `ribolex corpus build`."""
    inputs: list[str] = []
    """Files, or patterns of files, to build a corpus from."""
    labels: FilePath | None = None
    shortest: PositiveInt = 10
    longest: PositiveInt = 100_000
    max_ambiguous: Share = 0.1
    degap: bool = False
    salt: str = "ribolex"
    identity: Share | None = None
    validation_share: Share = 0.1
    test_share: Share = 0.1
    train: list[FilePath] = []
    """Tables as they are, split by whoever made them."""
    validation: FilePath | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "CorpusConfig":
        sources = [
            self.folder is not None,
            bool(self.inputs),
            bool(self.train) and self.validation is not None,
        ]
        if sum(sources) != 1 or bool(self.train) != (self.validation is not None):
            raise ValueError(
                "expected one of: folder; inputs; both train and validation"
            )
        return self


class ModelConfig(_Table):
    """The language model."""

    name: str = "bundled"
    """A name, or a path."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"


class ActivationsConfig(_Table):
    """Which rows a fit sees, and from where."""

    source: Literal["cache", "model"] = "cache"
    nucleotides: PositiveInt = 4_000_000
    held_out_nucleotides: PositiveInt = 300_000
    described_nucleotides: PositiveInt = 1_000_000
    budget_mib: PositiveInt = 1024
    seed: int = 0


class DictionaryConfig(_Table):
    """A dictionary, or one of each of several layers."""

    name: str
    layer: Annotated[int, Field(ge=0)] = 0
    layers: list[PositiveInt] = []
    target_layer: PositiveInt | None = None
    difference: bool = False
    hook: Hook = "normed"
    level: Level = "nucleotide"
    objective: ObjectiveName = "topk"
    k: PositiveInt = 16
    features: PositiveInt | None = None
    expansion: PositiveInt = 16
    tokens: PositiveInt = 8_000_000
    batch_rows: PositiveInt = 1024
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    scale: Scale = "dimension"
    orthogonality: Annotated[float, Field(ge=0)] = 0.0
    l1: Annotated[float, Field(ge=0)] = 3e-3
    checkpoint_steps: PositiveInt = 1000
    seed: int = 0
    licence: str = "Apache-2.0"

    @field_validator("name")
    @classmethod
    def _is_name(cls, name: str) -> str:
        if not is_name(name.replace("{layer}", "1")):
            raise ValueError("expected letters, digits, '.', '_' and '-', at most 100")
        return name

    @model_validator(mode="after")
    def _fits(self) -> "DictionaryConfig":
        if self.layers and self.layer:
            raise ValueError("expected either layer or layers")
        if len(self.layers) > 1 and "{layer}" not in self.name:
            raise ValueError("several layers, expected {layer} in the name")
        if self.difference and self.target_layer is None:
            raise ValueError("difference, but to which layer? expected target_layer")
        return self


class EvaluationConfig(_Table):
    """How much is measured."""

    probe_nucleotides: PositiveInt = 60_000
    loss_nucleotides: PositiveInt = 40_000


class GatesConfig(_Table):
    """What a dictionary must measure; false leaves a gate out."""

    fvu: float | Literal[False] = 0.5
    dead_fraction: float | Literal[False] = 0.5
    dense_fraction: float | Literal[False] = 0.05
    cap_cut: float | Literal[False] = 0.05
    loss_recovered: float | Literal[False] = 0.5
    panel_differing: float | Literal[False] = 0.005


class WatchConfig(_Table):
    """When `--watch` trains again."""

    look_s: Seconds = 10.0
    settle_s: Annotated[float, Field(ge=0)] = 30.0
    min_growth: Share = 0.05
    retry_s: Seconds = 60.0


class MetricsConfig(_Table):
    """Where metrics are served."""

    port: Annotated[int, Field(ge=0, le=65535)]
    host: str = "127.0.0.1"


class TrainerConfig(_Table):
    """All that a trainer process is told."""

    registry: str = "dictionaries"
    workdir: FilePath = Path("training")
    device: Device = "cpu"
    threads: Annotated[int, Field(ge=0)] = 0
    corpus: CorpusConfig
    model: ModelConfig = ModelConfig()
    activations: ActivationsConfig = ActivationsConfig()
    dictionary: Annotated[list[DictionaryConfig], Field(min_length=1)]
    evaluation: EvaluationConfig = EvaluationConfig()
    gates: GatesConfig = GatesConfig()
    watch: WatchConfig = WatchConfig()
    metrics: MetricsConfig | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> "TrainerConfig":
        names = [each.name for each in self.dictionaries()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two dictionaries called {', '.join(twice)}")
        return self

    def dictionaries(self) -> list[DictionaryConfig]:
        """Returns every dictionary by itself, each with one layer; 0: the middle."""
        return [
            each.model_copy(
                update={
                    "name": each.name.replace("{layer}", str(layer)),
                    "layer": layer,
                    "layers": [],
                }
            )
            for each in self.dictionary
            for layer in each.layers or [each.layer]
        ]


def read_config(path: Path) -> TrainerConfig:
    """Returns what a file says, its relative paths taken from its folder.

    Raises:
        CorruptInputError: the file cannot be read, or is no TOML.
        InvalidRequestError: names every key at fault and what was expected.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CorruptInputError(path, f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CorruptInputError(path, f"is no TOML: {error}") from error
    return _placed(make_config(fields, str(path)), path.resolve().parent)


def make_config(fields: dict[str, Any], where: str) -> TrainerConfig:
    """Returns the configuration that the fields give.

    Raises:
        InvalidRequestError: names every key at fault and what was expected.
    """
    try:
        return TrainerConfig.model_validate(fields)
    except ValidationError as error:
        faults = "; ".join(_describe(fault) for fault in error.errors())
        raise InvalidRequestError(where, faults) from error


def _describe(fault: Any) -> str:
    """Returns "dictionary[0].k: found -1, expected …"."""
    key = ""
    for part in fault["loc"]:
        if isinstance(part, int):
            key += f"[{part}]"
        elif part not in ("float", "literal[False]"):
            key += f".{part}" if key else str(part)
    key = key or "the file"
    if fault["type"] == "extra_forbidden":
        return f"{key}: no such key"
    if fault["type"] == "missing":
        return f"{key}: is missing"
    said = fault["msg"].removeprefix("Value error, ")
    said = said.replace("Input should be", "expected").replace(" or equal to", " or")
    if isinstance(fault["input"], str | int | float | bool):
        return f"{key}: found {fault['input']!r}, {said}"
    return f"{key}: {said}"


def _placed(config: TrainerConfig, folder: Path) -> TrainerConfig:
    corpus = config.corpus
    placed = corpus.model_copy(
        update={
            "folder": corpus.folder and folder / corpus.folder,
            "inputs": [str(folder / pattern) for pattern in corpus.inputs],
            "labels": corpus.labels and folder / corpus.labels,
            "train": [folder / table for table in corpus.train],
            "validation": corpus.validation and folder / corpus.validation,
        }
    )
    model, registry = config.model, config.registry
    if "/" in model.name:
        model = model.model_copy(update={"name": str(folder / model.name)})
    if "://" not in registry and registry != BUNDLED:
        registry = str(folder / registry)
    return config.model_copy(
        update={
            "corpus": placed,
            "model": model,
            "registry": registry,
            "workdir": folder / config.workdir,
        }
    )

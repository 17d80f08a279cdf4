"""Arguments and options that several commands have, each told once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Pooling(StrEnum):
    """How the codes of the nucleotides become that of their sequence."""

    MAX = "max"
    MEAN = "mean"
    COUNT = "count"


class Sensitivity(StrEnum):
    """How a search looks for similar RNAs."""

    FAST = "fast"
    SENSITIVE = "sensitive"
    EXHAUSTIVE = "exhaustive"


Collection = Annotated[
    str, typer.Option("--collection", "-c", metavar="NAME", help="Collection of RNAs.")
]
Timeout = Annotated[
    float, typer.Option(help="Longest wait for one answer, in seconds.", min=0.1)
]
DictionaryName = Annotated[
    str | None,
    typer.Option(
        help='"name" or "name@version"; without it the server\'s default, with --local '
        "the bundled registry's if the registry has it, else the first by name."
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, positions counted from 0.")
]
Batch = Annotated[
    int, typer.Option(min=1, help="Most RNAs to send at once.", metavar="RNAS")
]
SkipRejected = Annotated[
    bool,
    typer.Option("--skip-rejected", help="Go on without RNAs that are refused."),
]


Degap = Annotated[
    bool,
    typer.Option("--degap", help="Take gaps (- and .) out first; else: refused."),
]
Fasta = Annotated[
    Path, typer.Argument(metavar="FASTA", help='File, gzipped or not; "-": stdin.')
]
Local = Annotated[
    bool, typer.Option("--local", help="Compute in this process, with no server.")
]
Model = Annotated[
    str,
    typer.Option(
        help="With --local: a RiNALMo's name or path.", envvar="RIBOLEX_MODEL"
    ),
]
Device = Annotated[
    str,
    typer.Option(help="With --local: cpu or cuda.", envvar="RIBOLEX_DEVICE"),
]


class Precision(StrEnum):
    """Of the model's matrix products."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


ModelPrecision = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="With --local: of matrix products; auto: bfloat16 where there are units "
        "for it.",
        envvar="RIBOLEX_PRECISION",
    ),
]
Registry = Annotated[
    str | None,
    typer.Option(
        help="With --local: folder or URL of dictionaries.", envvar="RIBOLEX_REGISTRY"
    ),
]

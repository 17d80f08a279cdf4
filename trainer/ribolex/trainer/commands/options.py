"""Arguments and options that several commands have, each told once."""

from pathlib import Path
from typing import Annotated

import typer

Reference = Annotated[
    str, typer.Argument(metavar="NAME[@VERSION]", help="Of --registry.")
]
Registry = Annotated[str, typer.Option(help="Where it is: a folder, or redis://....")]
LabelledRnas = Annotated[
    list[Path],
    typer.Option(
        help="Table of RNAs with types, families and structures; may be repeated."
    ),
]
Lm = Annotated[
    str, typer.Option(help="Its RiNALMo: name, folder or file, or the one in the box.")
]
FindingsNucleotides = Annotated[
    int,
    typer.Option(
        min=1,
        help="Of --rnas about so many: half of families in turn, half to fill some "
        "families up to 25 members.",
    ),
]
Seed = Annotated[int, typer.Option(help="Of all that is drawn.")]
Workdir = Annotated[
    Path | None,
    typer.Option(help="Folder of activations and what else a second run can use."),
]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]

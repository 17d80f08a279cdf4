"""The command `ribolex feature nearest`: features by decoder direction."""

import re
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from ribolex.client import output
from ribolex.client.client import Client
from ribolex.client.commands import options
from ribolex.client.commands.local import Place, with_place
from ribolex.client.commands.searching import console
from ribolex.client.errors import CorruptInputError
from ribolex.client.nearest_view import print_nearest

_SPAN = re.compile(r"([1-9]\d{0,8})(?:-([1-9]\d{0,8}))?")


@with_place
def nearest(
    place: Place,
    feature_id: Annotated[
        int | None, typer.Argument(metavar="ID", min=0, help="Near to this feature.")
    ] = None,
    sequence: Annotated[
        str | None, typer.Option(help="Near to the mean activation of these letters.")
    ] = None,
    rna: Annotated[
        str | None, typer.Option(help="Or of this RNA of the collection.")
    ] = None,
    at: Annotated[
        str,
        typer.Option(metavar="12-20", help="Of it, only these nucleotides, from 1."),
    ] = "",
    activation: Annotated[
        Path | None,
        typer.Option(help="Near to the vector in this .npy file, of the right layer."),
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option("--collection", "-c", metavar="NAME", help="That --rna is of."),
    ] = None,
    dictionary: options.DictionaryName = None,
    everywhere: Annotated[
        bool,
        typer.Option("--everywhere", help="Search all dictionaries of the model."),
    ] = False,
    among: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME@VERSION", help="Search this one; may be given several times."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="Most features.")] = 10,
    degap: options.Degap = False,
    as_json: options.AsJson = False,
    timeout: options.Timeout = 300.0,
) -> None:
    """Find features with a near decoder direction.

    Of a stretch of an RNA, the features that fire there are told, too. Directions of
    different layers share their dimensions, not their meaning: compare a cosine with
    what chance gives, which is printed below.
    """
    given = (feature_id, sequence, rna, activation)
    if given.count(None) != 3:
        raise typer.BadParameter("give one of ID, --sequence, --rna and --activation")
    if (rna is None) != (collection is None):
        raise typer.BadParameter("give --rna and --collection together")
    if at and sequence is None and rna is None:
        raise typer.BadParameter("--at is for --sequence and --rna")
    start, stop = _span(at)
    asked: dict[str, Any] = {
        "feature": feature_id, "sequence": sequence, "dictionary": dictionary,
        "among": among or (), "everywhere": everywhere, "top_k": top, "degap": degap,
        "start": start, "stop": stop,
    }  # fmt: skip
    title = f"f{feature_id}" if feature_id is not None else "the activation"
    if sequence is not None or rna is not None:
        title = " ".join(filter(None, [rna or "the sequence", at]))
    if activation is not None:
        asked["activation"] = _vector(activation)
    with place.among(collection).connect(timeout, collection or "") as client:
        if rna is not None and collection is not None:
            asked |= _stored(client, collection, rna, dictionary)
        found = client.nearest_features(**asked)
    if as_json:
        typer.echo(output.to_json(found))
    else:
        print_nearest(console(), title, found)


def _stored(
    client: Client, collection: str, rna: str, dictionary: str | None
) -> dict[str, Any]:
    """Returns the letters of a stored RNA, and under which dictionary to read them."""
    stored = client.get_rna(collection, rna)
    return {
        "sequence": stored.rna.sequence,
        "dictionary": dictionary or str(stored.dictionary),
    }


def _span(at: str) -> tuple[int, int | None]:
    """Returns the first nucleotide from 0, and one past the last."""
    if not at:
        return 0, None
    found = _SPAN.fullmatch(at)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if last < first:
        raise typer.BadParameter(f"--at {at!r}: expected a span as 12-20, from 1")
    return first - 1, last


def _vector(path: Path) -> npt.NDArray[np.float32]:
    """Returns the vector in a file.

    Raises:
        CorruptInputError: there is none.
        OSError: the file cannot be read.
    """
    try:
        vector: object = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise CorruptInputError(str(path), f"is no .npy file: {error}") from error
    if isinstance(vector, np.ndarray) and vector.dtype.kind in "fiu":
        row: npt.NDArray[np.float32] = vector.squeeze().astype(np.float32)
        if row.ndim == 1:
            return row
    raise CorruptInputError(str(path), "does not hold one vector of numbers")

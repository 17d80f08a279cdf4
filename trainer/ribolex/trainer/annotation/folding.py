"""Structures of RNAs that come without one, predicted by ViennaRNA.

ViennaRNA (Lorenz et al. 2011) comes with the extra `ribolex[fold]`; its licence allows
use and passing on, not sale. What was folded once is found again on disk. Knows nothing
of what structures are for.
"""

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna
from ribolex.trainer.activations import Progress

SOURCE = "structure_source"
"""Key of the metadata that says of a structure that it was predicted, and by what."""

_TABLE = "CREATE TABLE IF NOT EXISTS folds (key TEXT PRIMARY KEY, structure TEXT)"
_LONGEST = 1000
"""Longer RNAs are left as they are: a fold of 1,000 nt takes 1.4 s, of 2,000 nt ten."""


def fold_missing(
    rnas: Sequence[Rna], cache: Path, progress: Progress, longest: int = _LONGEST
) -> list[Rna]:
    """Returns the RNAs, with predicted structures where they have none.

    Those are of least free energy, without pseudoknots, and `metadata[SOURCE]` says so.

    Args:
        rnas: with structures or without.
        cache: SQLite file of structures found before; made if it is not there.
        progress: is told about RNAs that have none.
        longest: nucleotides; longer RNAs are not folded.

    Raises:
        InvalidRequestError: ViennaRNA is not installed.
        OSError: the cache cannot be written.
    """
    try:
        import RNA
    except ModuleNotFoundError as error:
        raise InvalidRequestError(
            "fold", "ViennaRNA is not installed; it comes with ribolex[fold]"
        ) from error
    source = f"predicted by ViennaRNA {RNA.__version__}"
    missing = [
        i
        for i, rna in enumerate(rnas)
        if not rna.structure and len(rna.sequence) <= longest
    ]
    out = list(rnas)
    cache.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(cache, timeout=60)) as db, db:
            db.execute(_TABLE)
            for done, i in enumerate(missing, start=1):
                rna = rnas[i]
                key = hashlib.sha256(f"{source}\n{rna.sequence}".encode()).hexdigest()
                query = "SELECT structure FROM folds WHERE key = ?"
                if (row := db.execute(query, (key,)).fetchone()) is None:
                    row = (RNA.fold(rna.sequence)[0],)
                    db.execute("INSERT INTO folds VALUES (?, ?)", (key, row[0]))
                    if done % 64 == 0:  # what a kill costs at most
                        db.commit()
                metadata = {**rna.metadata, SOURCE: source}
                out[i] = replace(rna, structure=row[0], metadata=metadata)
                progress(done, len(missing))
    except sqlite3.Error as error:
        raise OSError(f"{cache}: {error}") from error
    return out

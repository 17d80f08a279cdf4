"""Hits as a tab-separated table, a line a hit, as BLAST users know it.

Positions count from 1 and ends are included. Written as hits come.
"""

from typing import TextIO

from ribolex.client.hits import Alignment, Hits

COLUMNS = (
    "query", "target", "score", "evalue", "identity", "query_start", "query_end",
    "target_start", "target_end",
)  # fmt: skip
_UNKNOWN = ("NA",) * 6


def e_value_text(e_value: float) -> str:
    """Returns an E-value as people read it: 3.9e-16, 0.0041, 0.5, 12."""
    if 0 < e_value < 1e-3:
        return f"{e_value:.1e}"
    return f"{e_value:.0f}" if e_value >= 10 else f"{e_value:.2g}"


def write_header(file: TextIO) -> None:
    """Writes the line that names the columns."""
    file.write("\t".join(COLUMNS) + "\n")


def write_hits(file: TextIO, query: str, hits: Hits) -> None:
    """Writes the hits of one query, best first; "NA" for what a fast search lacks."""
    for hit in hits:
        known = _UNKNOWN if hit.alignment is None else _cells(hit.alignment)
        row = (query, hit.rna.name, f"{hit.score:.4g}", *known)
        file.write("\t".join(row) + "\n")


def _cells(alignment: Alignment) -> tuple[str, ...]:
    return (
        e_value_text(alignment.e_value),
        f"{100 * alignment.identity:.1f}",
        f"{alignment.query_start + 1}",
        f"{alignment.query_stop}",
        f"{alignment.target_start + 1}",
        f"{alignment.target_stop}",
    )

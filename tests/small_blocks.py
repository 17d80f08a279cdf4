"""Blocks of pooled codes so small that a few RNAs fill several."""

from collections.abc import Callable

from ribolex.server.index import pooled, pooled_blocks, pooled_index


def shrink_blocks(
    assign: Callable[[object, str, object], None], rows: int, first_fit: int
) -> None:
    """Has blocks hold so many rows, and a basis be fitted to so many.

    Searches by signs read 64 rows at once: with fewer a block, do none.

    Args:
        assign: `setattr`, or that of a monkeypatch, which undoes it.
        rows: of a block.
        first_fit: codes that the first basis is made from.
    """
    for module in (pooled, pooled_blocks, pooled_index):
        assign(module, "ROWS", rows)
    assign(pooled_index, "FIRST_FIT", first_fit)

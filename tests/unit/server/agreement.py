"""Whether all that a collection has in memory is what its table says."""

from collections import Counter

import numpy as np

from ribolex.server.index.collection import Collection
from ribolex.server.index.pooled import PooledSearch
from ribolex.server.index.pooled_blocks import OpenBlock
from ribolex.server.index.pooled_index import Part
from ribolex.server.index.position_blocks import SLOTS, Lettered, pieces_of
from ribolex.server.index.positions import PositionalIndex
from ribolex.server.index.relatives import RelativesSearch

Content = Counter[tuple[int, int, int, bytes, bytes]]


def check_agreement(collection: Collection) -> int:
    """Fails unless every index holds what the records hold, and nothing else.

    Returns the number of RNAs.
    """
    records, pooled = collection._records, collection.indexes.codes
    assert isinstance(pooled, PooledSearch)
    db = records.db
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    codes = [row[0] for row in db.execute("SELECT id FROM nucleotide_code ORDER BY id")]
    ids = records.changes().ids.tolist()
    stored = dict(zip(ids, map(pooled.weigh, records.pooled_codes(ids)), strict=True))
    assert codes == sorted(stored)
    assert records.n_rnas == len(stored) == len(pooled.index)
    for rna_id, vector in stored.items():
        row = pooled.index.code(rna_id)
        assert (row.features == vector.features).all()
        np.testing.assert_allclose(row.weights, vector.weights, rtol=1e-6)
    live = [
        part.block.rna_ids[np.flatnonzero(part.is_alive)]
        for part in pooled.index.parts()
    ]
    assert sorted(np.concatenate([*live, np.empty(0, np.int64)]).tolist()) == sorted(
        stored
    )
    for part in pooled.index.parts():
        _check_sketches(part, pooled)
    allowed = np.flatnonzero(collection._metadata.allowed(()))
    assert allowed.tolist() == sorted(stored)
    relatives = collection.indexes.relatives
    if relatives is not None:
        assert isinstance(relatives, RelativesSearch)
        assert _content(relatives.index) == _expected(collection, relatives)
    return len(stored)


def _check_sketches(part: Part, pooled: PooledSearch) -> None:
    """Fails unless a block has the bits and signs that its rows have when made anew."""
    block = part.block
    twin = OpenBlock(len(pooled._idf), pooled._weighing)
    twin.append(block.rna_ids, block.changes, block.rows)
    if part.basis is not None:
        assert (part.basis.shift == block.shift).all()
        twin.set_basis(part.basis)
        rows = slice(len(block))
        assert (twin.view().signs[:, rows] == part.signs[:, rows]).all()
    for name in ("scales", "sums", "bits"):
        assert (getattr(twin.view(), name) == getattr(block, name)).all()


def _expected(collection: Collection, relatives: RelativesSearch) -> Content:
    """What the positional index of the stored RNAs must hold."""
    records = collection._records
    changes = dict(zip(*(c.tolist() for c in records.changes()), strict=True))
    found: Content = Counter()
    for rna_id, sequence, codes in records.nucleotide_codes(changes):
        letters = np.array(["ACGU".find(x) % 5 for x in sequence], np.uint8)
        vectors = relatives._model.vectors(codes)
        states = relatives._model.states(letters, vectors)
        rna = Lettered(rna_id, changes[rna_id], states, vectors)
        for piece in pieces_of(rna):
            assert len(piece.states) <= SLOTS
            found[
                rna_id,
                int(piece.changes[0]),
                int(piece.starts[0]),
                piece.states.tobytes(),
                piece.vectors.tobytes(),
            ] += 1
    return found


def _content(index: PositionalIndex) -> Content:
    """What a search of the positional index sees."""
    seen = index.snapshot()
    found: Content = Counter()
    alive = np.split(seen.alive(), seen.pieces.firsts[1:-1])
    for block, of_block in zip(seen.blocks, alive, strict=False):
        for place in np.flatnonzero(of_block):
            slots = slice(block.piece_slots[place], block.piece_slots[place + 1])
            found[
                int(block.rna_ids[place]),
                int(block.changes[place]),
                int(block.starts[place]),
                block.states[slots].tobytes(),
                block.vectors[slots].tobytes(),
            ] += 1
    return found

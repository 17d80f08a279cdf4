"""What a collection holds in memory, drawn from its records and kept in step with them.

Knows nothing of queries, or of what is done once it can no longer be kept so.
"""

from dataclasses import dataclass
from pathlib import Path

from ribolex.dictionary import AlignmentModel, Dictionary
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.metadata import MetadataColumns
from ribolex.server.index.records import Effect, Records
from ribolex.server.index.seams import Indexes
from ribolex.server.index.upkeep import RelativesOptions, open_indexes


@dataclass(frozen=True, slots=True)
class Drawn:
    """All of one collection. For its thread; of no use after an error of `follow`."""

    indexes: Indexes
    metadata: MetadataColumns
    model: AlignmentModel | None
    """Of its dictionary; None if that has none."""

    @classmethod
    def of(
        cls,
        folder: Path,
        dictionary: Dictionary,
        measure: SearchMeasure,
        records: Records,
        options: RelativesOptions,
    ) -> "Drawn":
        """Draws it anew. Arguments are those of `open_indexes`."""
        indexes = open_indexes(folder, dictionary, measure, records, options)
        metadata = MetadataColumns()
        for rna_id, known, length in records.scan_metadata():
            metadata.put(rna_id, known, length)
        return cls(indexes, metadata, dictionary.alignment)

    def follow(self, done: Effect) -> None:
        """Makes it what the records are since a group of changes."""
        codes, relatives = self.indexes
        stored = done.stored
        if done.removed:
            codes.remove(done.removed)
            self.metadata.remove(done.removed)
            if relatives is not None:
                relatives.remove(done.removed)
        if stored:
            changes = [done.changes[rna_id] for rna_id in stored]
            codes.put(list(stored), changes, [one.pooled for one in stored.values()])
        for rna_id, record in stored.items():
            rna = record.rna
            self.metadata.put(rna_id, rna.metadata, len(rna.sequence))
            if relatives is not None:
                change = done.changes[rna_id]
                relatives.put(rna_id, change, rna.sequence, record.codes)

    def close(self) -> None:
        """Keeps what makes the next start faster."""
        for index in self.indexes:
            if index is not None:
                index.close()

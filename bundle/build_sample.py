#!/usr/bin/env python3
"""Builds the sample in the box from Rfam's seed alignments as ViennaRNA ships them.

    pip download --no-deps --no-binary viennarna viennarna==2.7.2
    python bundle/build_sample.py viennarna-2.7.2.tar.gz

The same archive gives the same table, to the byte. Knows where in the archive the
alignments are and what the sample keeps; reading Stockholm is `ribolex.rna`'s work.
"""

import argparse
import io
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ribolex.rna import Rna, read_alignments, write_rnas

MEMBERS = (
    "viennarna-2.7.2/tests/data/rfam_seed_many_short.stk",
    "viennarna-2.7.2/tests/data/rfam_seed_selected.stk",
)
MAX_NUCLEOTIDES = 512
SAMPLE = Path(__file__).parent / "ribolex_bundle" / "sample" / "rfam_sample.tsv.gz"


def main() -> None:
    """Builds the table from the archive named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("archive", type=Path, help="viennarna-2.7.2.tar.gz")
    parser.add_argument(
        "--output", type=Path, default=SAMPLE, help="default: %(default)s"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rnas = list(keep(read_members(arguments.archive, Path(folder))))
    write_rnas(arguments.output, rnas)
    families = {rna.metadata["family_acc"] for rna in rnas}
    sys.stdout.write(
        f"{arguments.output}: {len(rnas)} RNAs of {len(families)} families, "
        f"{sum(len(rna.sequence) for rna in rnas)} nucleotides\n"
    )


def read_members(archive: Path, folder: Path) -> Iterator[Rna]:
    """Yields every member of every alignment, in the order of the archive's files.

    The archive's alignments are unpacked into the folder.
    """
    with tarfile.open(archive) as tar:
        for member in MEMBERS:
            unpacked = folder / Path(member).name
            with tar.extractfile(tar.getmember(member)) or io.BytesIO() as stream:
                unpacked.write_bytes(stream.read())
            for alignment in read_alignments(unpacked):
                yield from alignment.rnas()


def keep(rnas: Iterable[Rna]) -> Iterator[Rna]:
    """Yields the RNAs that are short enough, the first of each sequence and name."""
    sequences: set[str] = set()
    names: set[str] = set()
    for rna in rnas:
        is_new = rna.sequence not in sequences and rna.name not in names
        if is_new and len(rna.sequence) <= MAX_NUCLEOTIDES:
            sequences.add(rna.sequence)
            names.add(rna.name)
            yield rna


if __name__ == "__main__":
    main()

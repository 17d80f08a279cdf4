"""The file of codes is one that scipy opens, whole or not there at all."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from ribolex.client import CodesWriter, Encoded, SparseCodes

MakeEncoded = Callable[[list[int]], Encoded]


def _sequence_codes(encoded: Encoded) -> SparseCodes:
    assert encoded.sequence_codes is not None
    return encoded.sequence_codes


def test_scipy_reads_the_sequence_codes(
    tmp_path: Path, make_encoded: MakeEncoded
) -> None:
    path, batches = tmp_path / "codes.npz", [make_encoded([5, 9]), make_encoded([7])]
    with CodesWriter(path) as writer:
        writer.add(["a", "b"], batches[0])
        writer.add(["c"], batches[1])
    matrix = sparse.load_npz(path)
    expected = [_sequence_codes(batch).toscipy() for batch in batches]
    assert matrix.format == "csr"
    np.testing.assert_array_equal(matrix.toarray(), sparse.vstack(expected).toarray())
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["names"].tolist() == ["a", "b", "c"]
        assert arrays["dictionary"].item() == "tiny@3"
        assert arrays["fvu"].tolist() == [0.5, 0.5, 0.5]
        assert "row_offsets" not in arrays


def test_row_offsets_say_whose_nucleotides_are_whose(
    tmp_path: Path, make_encoded: MakeEncoded
) -> None:
    path, encoded = tmp_path / "codes.npz", make_encoded([5, 9])
    with CodesWriter(path, per_nucleotide=True) as writer:
        writer.add(["a", "b"], encoded)
    matrix = sparse.csr_matrix(sparse.load_npz(path))
    offsets = np.load(path)["row_offsets"].tolist()
    assert offsets == [0, 5, 14]
    np.testing.assert_array_equal(
        matrix[5:14].toarray(), encoded.nucleotides(1).toscipy().toarray()
    )


@pytest.mark.parametrize("per_nucleotide", [False, True])
def test_refused_rnas_have_no_row(
    tmp_path: Path, make_encoded: MakeEncoded, per_nucleotide: bool
) -> None:
    path = tmp_path / "codes.npz"
    with CodesWriter(path, per_nucleotide=per_nucleotide) as writer:
        writer.add(["a", "bad", "c"], make_encoded([5, 0, 2]))
    arrays = np.load(path)
    assert arrays["names"].tolist() == ["a", "c"]
    assert sparse.load_npz(path).shape == ((7 if per_nucleotide else 2), 40)
    assert np.isfinite(arrays["fvu"]).all()


def test_nothing_is_left_of_a_failure(
    tmp_path: Path, make_encoded: MakeEncoded
) -> None:
    path = tmp_path / "codes.npz"
    path.write_bytes(b"what was there before")
    writer = CodesWriter(path)
    writer.add(["a"], make_encoded([5]))
    with pytest.raises(ZeroDivisionError), writer:
        _ = 1 / 0
    assert [file.name for file in tmp_path.iterdir()] == ["codes.npz"]
    assert path.read_bytes() == b"what was there before"


def test_the_same_codes_make_the_same_bytes(
    tmp_path: Path, make_encoded: MakeEncoded
) -> None:
    encoded, paths = make_encoded([5, 9]), [tmp_path / "a.npz", tmp_path / "b.npz"]
    for path in paths:
        with CodesWriter(path) as writer:
            writer.add(["a", "b"], encoded)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_no_rna_at_all_makes_an_empty_matrix(tmp_path: Path) -> None:
    with CodesWriter(tmp_path / "codes.npz"):
        pass
    assert sparse.load_npz(tmp_path / "codes.npz").shape == (0, 0)


def test_codes_of_others_are_refused(tmp_path: Path, make_encoded: MakeEncoded) -> None:
    writer = CodesWriter(tmp_path / "codes.npz")
    with pytest.raises(ValueError, match="2 names"), writer:
        writer.add(["a", "b"], make_encoded([5]))


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        CodesWriter(tmp_path / "none" / "codes.npz")

"""Collections shown and deleted: over gRPC and from the shell, with and without a
server; conditions on metadata that cannot hold."""

import json
from pathlib import Path

import pytest
from tests.integration.test_cli import Run, name, run

from ribolex.client import Between, Client, InvalidRequestError, NoneOf, Rna

__all__ = ["name", "run"]  # fixtures


def test_a_collection_tells_what_it_holds(running_server: str, name: str) -> None:
    known = {"family": "f", "year": 7, "weight": 0.5}
    with Client(running_server, timeout_s=30) as client:
        before = client.get_collection(name)
        more = [
            Rna("x", "ACGUA", None, known),  # type: ignore[arg-type]
            Rna("y", "GGG", None, {"family": "g"}),
        ]
        assert client.upsert(name, more).n_inserted == 2
        found = client.get_collection(name)
        assert before.details is not None
        assert found.details is not None
        assert found.details.n_nucleotides == before.details.n_nucleotides + 8
        assert found.details.records_bytes > 0
        keys = [(k.key, k.n_rnas, k.n_values, k.is_number) for k in found.details.keys]
        assert keys == [
            ("family", 2, 2, False),
            ("weight", 1, 1, True),
            ("year", 1, 1, True),
        ]
        (rna,) = client.list_rnas(name, where={"year": Between(6.5, 7)})
        assert rna.metadata == {"family": "f", "year": "7", "weight": "0.5"}
        (other,) = (one for one in client.list_collections() if one.name == name)
        assert other.details is None
        with pytest.raises(InvalidRequestError, match="metadata\\['k'\\] is None"):
            client.upsert(name, [Rna("z", "A", None, {"k": None})])  # type: ignore[dict-item]
        report = client.upsert(name, [Rna("z", "A", None, {"k\t": "v"})])
        assert "no key" in report.rejections[0].message


def test_a_mistyped_key_deletes_and_finds_nothing(
    running_server: str, name: str
) -> None:
    wrong = {"famly": NoneOf(["f"])}
    with Client(running_server, timeout_s=30) as client:
        for call in (
            lambda: client.delete_rnas(name, where=wrong),
            lambda: list(client.list_rnas(name, where=wrong)),
            lambda: client.search(name, sequence="ACGU", where=wrong),
        ):
            with pytest.raises(InvalidRequestError, match="has 'famly'") as caught:
                call()
            assert caught.value.violations[0].field == "where[0].key"
        assert client.get_collection(name).n_rnas == 3


def test_the_shell_shows_and_deletes(
    run: Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run("collections", "show", name) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "collection", "dictionary", "pooling", "made", "RNAs", "nucleotides", "on"
    ]  # fmt: skip
    assert lines[1].split()[1] == "tiny@1"
    assert run("collections", "show", name, "--json") == 0
    assert json.loads(capsys.readouterr().out)["details"]["n_nucleotides"] > 0
    # Nobody answers the question.
    assert run("collections", "delete", name) == 1
    assert "with its 3 RNAs" in capsys.readouterr().err
    assert run("collections", "show", name) == 0
    assert run("collections", "show", "nobody") == 1


def test_a_folder_has_collections_without_a_server(
    run: Run,
    tmp_path: Path,
    tiny_model: Path,
    tiny_registry: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = ["--local", "--data", str(tmp_path / "data")]
    place += ["--model", str(tiny_model), "--registry", str(tiny_registry)]
    assert run("add", "rnas.fasta", "-c", "mine", "--dictionary", "tiny", *place) == 0
    capsys.readouterr()
    assert run("collections", "delete", "mine", "--yes", *place) == 0
    assert capsys.readouterr().out == "mine: deleted with 3 RNAs\n"
    assert run("collections", *place) == 0
    assert "mine" not in capsys.readouterr().out

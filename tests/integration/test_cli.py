"""The command line and a real server: what a user types, and what is there then."""

import gzip
import io
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import sparse
from tests.command_line import run_ribolex
from tests.conftest import OwnServer

from ribolex.client import Client, demo, records
from ribolex.client.tables import read_rnas

TRNA = "GGGCCCAUAGCUCAGUGGUAGAGUGCCUCCUUUGCAAGGAGGAUGCCCUGGGUUCGAAUCCCAGUGGGUCCA"
FASTA = f">a first\n{TRNA[:40].lower()}\r\n{TRNA[40:]}\n>b\nGGGAAACCC\n>c\nACGT\n"

Run = Callable[..., int]


@pytest.fixture
def run(running_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Gives a function that runs a command line, in a folder with rnas.fasta."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIBOLEX_SERVER", running_server)
    Path("rnas.fasta").write_text(FASTA)

    return partial(run_ribolex, monkeypatch)


@pytest.fixture
def name(run: Run, running_server: str) -> Iterator[str]:
    """Gives a collection of the test's own with the RNAs of rnas.fasta."""
    name = f"cli-{uuid.uuid4().hex}"
    assert run("add", "rnas.fasta", "-c", name) == 0
    yield name
    with Client(running_server) as client:
        client.delete_collection(name)


def test_encode_writes_what_the_client_gives(run: Run, running_server: str) -> None:
    assert run("encode", "rnas.fasta", "-o", "codes.npz", "--batch", "2") == 0
    with Client(running_server) as client:
        encoded = client.encode([TRNA, "GGGAAACCC", "ACGU"])
    assert encoded.sequence_codes is not None
    np.testing.assert_allclose(
        sparse.load_npz("codes.npz").toarray(),
        encoded.sequence_codes.toscipy().toarray(),
        rtol=1e-5,
    )
    arrays = np.load("codes.npz")
    assert arrays["names"].tolist() == ["a", "b", "c"]
    assert arrays["dictionary"].item() == "tiny@1"


def test_encode_reads_gzipped_standard_input(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    zipped = io.BytesIO(gzip.compress(FASTA.encode()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(zipped))
    assert run("encode", "-", "-o", "codes.npz", "--pooling", "mean") == 0
    assert np.load("codes.npz")["names"].tolist() == ["a", "b", "c"]


def test_encode_per_nucleotide_says_whose_rows_are_whose(run: Run) -> None:
    assert (
        run("encode", "rnas.fasta", "-o", "n.npz", "--per-nucleotide", "-k", "2") == 0
    )
    matrix = sparse.csr_matrix(sparse.load_npz("n.npz"))
    assert np.load("n.npz")["row_offsets"].tolist() == [0, 72, 81, 85]
    assert matrix.shape == (85, 96)
    assert np.diff(matrix.indptr).max() <= 2


@pytest.mark.parametrize("per_nucleotide", [[], ["--per-nucleotide"]])
def test_local_codes_are_the_servers(
    run: Run, tiny_model: Path, tiny_registry: Path, per_nucleotide: list[str]
) -> None:
    local = ["--local", "--model", str(tiny_model), "--registry", str(tiny_registry)]
    options = ["--dictionary", "tiny", *per_nucleotide]
    assert run("encode", "rnas.fasta", "-o", "server.npz", *options) == 0
    assert run("encode", "rnas.fasta", "-o", "local.npz", *options, *local) == 0
    np.testing.assert_allclose(
        sparse.load_npz("local.npz").toarray(),
        sparse.load_npz("server.npz").toarray(),
        rtol=1e-5,
    )


def test_local_failure_is_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], tiny_model: Path, tiny_registry: Path
) -> None:
    local = ["--local", "--model", str(tiny_model), "--registry", str(tiny_registry)]
    assert (
        run("encode", "rnas.fasta", "-o", "x.npz", "--dictionary", "none", *local) == 1
    )
    assert capsys.readouterr().err == "ribolex: there is no dictionary 'none'\n"


def test_refused_rna_ends_encode_unless_it_is_to_be_skipped(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("rnas.fasta").write_text(">a\nACGU\n>bad\nAXGU\n>c\nGG\n")
    assert run("encode", "rnas.fasta", "-o", "codes.npz") == 1
    assert "refused: bad: 'X' at position 2" in capsys.readouterr().err
    assert not Path("codes.npz").exists()
    assert run("encode", "rnas.fasta", "-o", "codes.npz", "--skip-rejected") == 0
    assert np.load("codes.npz")["names"].tolist() == ["a", "c"]


@pytest.mark.parametrize("local", [False, True])
def test_embed_writes_what_the_client_gives(
    run: Run, running_server: str, tiny_model: Path, local: bool
) -> None:
    here = ["--local", "--model", str(tiny_model)] if local else ["--batch", "2"]
    layers = ["--layer", "2", "--layer", "1"]
    assert run("embed", "rnas.fasta", "-o", "x.npz", *layers, *here) == 0
    pooled = ["--pooled", "max", "--half", "--hook", "raw"]
    assert run("embed", "rnas.fasta", "-o", "p.npz", *layers, *here, *pooled) == 0
    sequences = [TRNA, "GGGAAACCC", "ACGU"]
    with Client(running_server) as client:
        rows = client.embed(sequences, layers=[1, 2])
        maxima = client.embed(sequences, layers=[1, 2], pooling="max", hook="raw")
    with np.load("x.npz") as found:
        np.testing.assert_allclose(found["activations"], rows.activations, atol=1e-5)
        assert found["row_offsets"].tolist() == [0, 72, 81, 85]
        assert found["names"].tolist() == ["a", "b", "c"]
        assert found["model_digest"].item() == rows.model_digest
    with np.load("p.npz") as found:
        assert found["activations"].dtype == np.float16
        np.testing.assert_allclose(
            found["activations"], maxima.activations, rtol=2e-3, atol=1e-3
        )
        assert found["pooling"].item() == "max"


def test_local_precision_is_what_was_asked_for(run: Run, tiny_model: Path) -> None:
    arguments = ["embed", "rnas.fasta", "--local", "--model", str(tiny_model)]
    assert run(*arguments, "-o", "full.npz") == 0
    assert run(*arguments, "-o", "half.npz", "--precision", "bfloat16") == 0
    with np.load("full.npz") as full, np.load("half.npz") as half:
        error = np.abs(half["activations"] - full["activations"]).max()
    assert 1e-4 < error < 0.2


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_device_that_is_not_there_is_an_error_of_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], tiny_model: Path, device: str
) -> None:
    arguments = ["embed", "rnas.fasta", "-o", "x.npz", "--local"]
    assert run(*arguments, "--model", str(tiny_model), "--device", device) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ribolex: device: '{device}' is")


def test_refused_rna_ends_embed_unless_it_is_to_be_skipped(
    run: Run, capsys: pytest.CaptureFixture[str], tiny_model: Path
) -> None:
    Path("rnas.fasta").write_text(">a\nACGU\n>bad\nAXGU\n>c\nGG\n")
    for local in ([], ["--local", "--model", str(tiny_model)]):
        arguments = ["embed", "rnas.fasta", "-o", "x.npz", *local]
        assert run(*arguments) == 1
        assert "refused: bad: 'X' at position 2" in capsys.readouterr().err
        assert not Path("x.npz").exists()
        assert run(*arguments, "--skip-rejected") == 0
        with np.load("x.npz") as found:
            assert found["names"].tolist() == ["a", "c"]
            assert found["row_offsets"].tolist() == [0, 4, 6]
        Path("x.npz").unlink()


def test_wrong_layer_is_one_line(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("embed", "rnas.fasta", "-o", "x.npz", "--layer", "9") == 1
    message = "ribolex: layers: 9, expected 1 to 2, tiny's\n"
    assert capsys.readouterr().err == message


def test_gaps_are_taken_out_on_request_by_every_command(
    run: Run, name: str, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("gaps.fasta").write_text(">g\nGGG-AAA.CCC\n")
    local = ["--local", "--model", str(tiny_model)]
    for arguments in (
        ["encode", "gaps.fasta", "-o", "x.npz"],
        ["embed", "gaps.fasta", "-o", "x.npz"],
        ["embed", "gaps.fasta", "-o", "x.npz", *local],
        ["add", "gaps.fasta", "-c", name],
        ["search", "gaps.fasta", "-c", name],
    ):
        assert run(*arguments) == 1
        assert "'-' at position 4 is not an RNA letter" in capsys.readouterr().err
        assert run(*arguments, "--degap") == 0


def test_add_makes_a_collection_and_then_replaces(
    run: Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("add", "rnas.fasta", "-c", name) == 0
    expected = f"{name}: 0 added, 3 replaced, 0 refused; 3 RNAs in all\n"
    assert capsys.readouterr().out.endswith(expected)


def test_add_reads_labels_from_a_table(
    run: Run, name: str, running_server: str
) -> None:
    table = "name\tsequence\tstructure\tfamily\nd\tGGGAAACCC\t(((...)))\thairpin\n"
    Path("rnas.tsv").write_text(table)
    assert run("add", "rnas.tsv", "-c", name) == 0
    with Client(running_server) as client:
        stored = client.get_rna(name, "d").rna
    assert (stored.structure, stored.metadata) == ("(((...)))", {"family": "hairpin"})


def test_add_stores_the_others_beside_a_refused_rna(
    run: Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("more.fasta").write_text(">x\nACGUU\n>bad\nAXGU\n")
    assert run("add", "more.fasta", "-c", name) == 1
    captured = capsys.readouterr()
    assert "1 added, 0 replaced, 1 refused; 4 RNAs in all" in captured.out
    assert "refused: bad: 'X' at position 2" in captured.err
    assert run("add", "more.fasta", "-c", name, "--skip-rejected") == 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--pooling", "mean"], "is pooled by count, not mean"),
        (["--dictionary", "tiny@2"], "is indexed under tiny@1, not tiny@2"),
    ],
)
def test_add_refuses_a_collection_that_was_made_otherwise(
    run: Run,
    name: str,
    capsys: pytest.CaptureFixture[str],
    option: list[str],
    message: str,
) -> None:
    assert run("add", "rnas.fasta", "-c", name, *option) == 1
    assert message in capsys.readouterr().err


def test_search_prints_hits_for_each_query(
    run: Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run("search", "rnas.fasta", "-c", name, "--top", "1", "--features", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    queries = [
        line.split()[0] for line in lines if "among 3 RNAs, fast, by tiny@1" in line
    ]
    hits = [line.split()[1:3] for line in lines if line.startswith("1 ")]
    assert queries == ["a", "b", "c"]
    assert hits == [["1.000", "a"], ["1.000", "b"], ["1.000", "c"]]
    assert sum("of seed 0  at" in line for line in lines) == 3


def test_search_as_json_counts_from_zero(
    run: Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run("search", "-c", name, "--rna", "b", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["query"], answer["collection"]) == ("b", name)
    assert sorted(hit["rna"]["name"] for hit in answer["hits"]) == ["a", "c"]
    assert answer["n_rnas"] == 3


def test_search_names_the_query_at_fault(
    run: Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.fasta").write_text(">odd one\nAXGU\n")
    assert run("search", "bad.fasta", "-c", name) == 1
    assert "refused: odd: 'X' at position 2" in capsys.readouterr().err


def test_feature_prints_its_card_and_its_json(
    run: Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run("feature", "show", "7", "--collection", name) == 0
    assert "f7 of tiny@1  feature 7 of seed 0" in capsys.readouterr().out
    assert run("feature", "show", "7", "--json", "--dictionary", "tiny@2") == 0
    card = json.loads(capsys.readouterr().out)
    assert (card["dictionary"], card["feature"]["id"]) == ("tiny@2", 7)


@pytest.mark.parametrize("width", ["", "80"])
def test_lists_name_what_is_there(
    run: Run,
    name: str,
    width: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    if not width:
        monkeypatch.delenv("COLUMNS")
    assert run("dictionaries") == 0
    assert run("collections") == 0
    text = capsys.readouterr().out
    assert "tiny@1 *" in text
    assert name in text


@pytest.mark.parametrize("width", [80, 120])
def test_demo_shows_all_of_it(
    running_server: str,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
) -> None:
    """On 40 RNAs of the sample and the tiny model; how it starts is tested apart."""
    collection = f"demo-{uuid.uuid4().hex}"

    def some(path: Path) -> Iterator[records.Rna]:
        rnas = list(read_rnas(path))
        kinds = [kind for _, kind in demo._SHOWN]
        for kind in kinds:
            yield from [rna for rna in rnas if rna.metadata["type"] == kind][:13]

    @contextmanager
    def already_running(folder: Path) -> Iterator[str]:
        yield running_server

    monkeypatch.setattr(demo, "read_rnas", some)
    monkeypatch.setattr(demo, "running_server", already_running)
    monkeypatch.setattr(demo, "_COLLECTION", collection)
    console = Console(file=io.StringIO(), width=width, color_system=None)
    demo.run_demo(console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for title, _ in demo._SHOWN:
        assert f"{title}: " in text
    assert "Indexed 39 real RNAs of" in text
    assert "type:tRNA" in text
    assert "Of 39 RNAs drawn at random" in text.replace("\n", " ")
    with Client(running_server) as client:
        client.delete_collection(collection)


@pytest.mark.slow
def test_a_folder_filled_without_a_server_is_one_that_a_server_takes_over(
    run: Run,
    own_server: OwnServer,
    tiny_model: Path,
    tiny_registry: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What is said of servers is not for that of a folder.
    monkeypatch.setenv("RIBOLEX_TOKENS", "nowhere")
    monkeypatch.setenv("RIBOLEX_MODEL", str(tiny_model))
    monkeypatch.setenv("RIBOLEX_REGISTRY", str(tiny_registry))
    local = ["-c", "mine", "--local", "--data", str(tmp_path / "data")]
    assert run("add", "rnas.fasta", *local) == 0
    assert "mine: 3 added, 0 replaced, 0 refused; 3 RNAs" in capsys.readouterr().out
    asked = ["search", "rnas.fasta", "--top", "2", "--where", "length<=20"]
    assert run(*asked, *local, "-o", "local.tsv") == 0
    nearest = ["feature", "nearest", "--rna", "a", "--at", "3-9", "--top", "3"]
    capsys.readouterr()
    assert run(*nearest, *local) == 0
    found = capsys.readouterr().out
    monkeypatch.delenv("RIBOLEX_TOKENS")
    with own_server() as address:
        assert run(*asked, "-c", "mine", "--server", address, "-o", "served.tsv") == 0
        assert run(*nearest, "-c", "mine", "--server", address) == 0
        assert capsys.readouterr().out == found
        # Two at a time would spoil it.
        assert run(*asked, *local) == 1
        assert "another server uses the data folder" in capsys.readouterr().err
        # What is about no collection does not need the folder.
        assert run("feature", "nearest", "5", *local[2:]) == 0
    rows = [line.split("\t") for line in Path("local.tsv").read_text().splitlines()]
    assert Path("served.tsv").read_text() == Path("local.tsv").read_text()
    assert [row[0] for row in rows] == ["query", "a", "a", "b", "b", "c", "c"]
    assert {row[1] for row in rows[1:]} == {"b", "c"}


def test_search_in_a_folder_says_at_once_what_is_not_there(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local = ["--local", "--data", str(tmp_path / "none")]
    assert run("search", "rnas.fasta", "-c", "mine", *local) == 1
    assert "no collection 'mine' in" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_table_holds_the_hits_of_every_query_that_is_one(
    run: Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("some.fasta").write_text(f">q1\n{TRNA}\n>bad\nAXGU\n>q2\nGGGAAACCC\n")
    capsys.readouterr()
    assert run("search", "some.fasta", "-c", name, "--top", "1", "-o", "x.tsv") == 1
    assert not Path("x.tsv").exists()
    arguments = ["search", "some.fasta", "-c", name, "--top", "1", "--skip-rejected"]
    assert run(*arguments, "-o", "x.tsv") == 0
    capsys.readouterr()
    assert run(*arguments, "-o", "-") == 0
    captured = capsys.readouterr()
    assert captured.out == Path("x.tsv").read_text()
    assert "refused: bad" in captured.err
    rows = [line.split("\t")[:2] for line in captured.out.splitlines()]
    assert rows == [["query", "target"], ["q1", "a"], ["q2", "b"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["A C", "ACGU"], "A: 'A C' is neither a file nor a sequence"),
        (["rnas.fasta", "ACGU"], "rnas.fasta: has several RNAs, expected one"),
        (["ACGU", "ACGU"], "alignment model is missing"),
        (["AXGU", "ACGU"], "alignment model is missing"),
        (["a", "b", "--collection", "none"], "no collection"),
    ],
)
def test_align_says_what_is_wrong(
    run: Run,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert run("align", *arguments) == 1
    assert message in capsys.readouterr().err


def test_scan_tells_what_variants_change(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("scan", "GGGAAACCC", "1G>A", "2del", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["changes"] for one in found["variants"]] == ["1G>A", "2del"]
    Path("one.fasta").write_text(">one\nGGGAAACCC\n")
    assert run("scan", "one.fasta", "-o", "scan.tsv", "--heat-map", "scan.svg") == 0
    rows = Path("scan.tsv").read_text().splitlines()
    assert len(rows) == 1 + 27
    assert Path("scan.svg").stat().st_size > 1000
    assert run("scan", "one.fasta", "--alternatives", "rnas.fasta", "-o", "-") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 3
    assert run("scan", "one.fasta", "--positions", "2-3") == 0
    assert "one  9 nt, 6 variants" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1A>G"], "refused: 1A>G: '1A>G': the reference has G there"),
        (["--positions", "4-99"], "expected a range within 0 to 9"),
        (["--positions", "x"], "expected such as 12-40"),
        (["--heat-map", "map.gif"], "does not end in one of .svg"),
        (["2del", "--heat-map", "map.svg"], "no substitution of one nucleotide"),
    ],
)
def test_scan_refuses_in_words(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run("scan", "GGGAAACCC", *arguments) == 1
    assert message in capsys.readouterr().err


def test_probes_are_fitted_and_applied(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    lines = ["name\tsequence\tkind\tfamily"]
    for i in range(24):
        letters = "GC" if i % 2 else "AU"
        sequence = "".join(generator.choice(list(letters), 30))
        lines.append(f"r{i}\t{sequence}\t{letters}\tf{i // 4}{letters}")
    lines.append("other\tACGUACGU\t\tf")
    Path("table.tsv").write_text("\n".join(lines) + "\n")
    arguments = ["probe", "fit", "table.tsv", "--label", "kind", "-o", "probe.json"]
    assert run(*arguments, "-k", "3", "--deals", "2", "--batch", "9") == 0
    told = capsys.readouterr().out
    assert "24 RNAs, 2 labels; 5 folds, RNAs of one family together" in told
    assert "3 features a label" in told
    assert "labels dealt by chance, 2 times" in told
    written = json.loads(Path("probe.json").read_text())
    assert [len(each["weights"]) for each in written["readings"]] == [3, 3]
    assert written["facts"]["RNAs by label"] == {"AU": 12, "GC": 12}
    assert written["facts"]["validation"]["codes"]["auroc"] > 0.9
    Path("new.fasta").write_text(">a\nAUAUUUAAUAUAAUUA\n>odd\nA1\n>g\nGGCCGCGCGGGCCC\n")
    assert run("probe", "apply", "probe.json", "new.fasta", "--skip-rejected") == 0
    captured = capsys.readouterr()
    rows = [line.split("\t") for line in captured.out.splitlines()]
    assert rows[0] == ["name", "label", "AU", "GC", "fvu"]
    assert [row[:2] for row in rows[1:]] == [["a", "AU"], ["g", "GC"]]
    assert "refused: odd" in captured.err
    # The version that it was fitted to, or none.
    written["dictionary"] = f"{written['dictionary'].partition('@')[0]}@77"
    Path("probe.json").write_text(json.dumps(written))
    assert run("probe", "apply", "probe.json", "new.fasta", "--skip-rejected") == 1
    assert "77" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ("name\tsequence\tlabel\na\tACGU\tx\nb\tACGA\tx\n", [], "1 labels in column"),
        ("name\tsequence\tlabel\na\tACGU\tx\nb\tACGA\ty\n", [], "one RNA with 'x'"),
        (
            "name\tsequence\tlabel\tg\na\tACGU\tx\t1\nb\tACGA\ty\t2\nc\tAC\ty\t2\n",
            ["--group", "g"],
            "less than two of column 'g'",
        ),
    ],
)
def test_too_little_for_a_probe_is_told(
    run: Run,
    capsys: pytest.CaptureFixture[str],
    table: str,
    options: list[str],
    message: str,
) -> None:
    Path("table.tsv").write_text(table)
    assert run("probe", "fit", "table.tsv", "-o", "probe.json", *options) == 1
    assert message in capsys.readouterr().err
    assert not Path("probe.json").exists()


def test_compare_tells_in_what_groups_differ(
    run: Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("long.tsv").write_text(
        "name\tsequence\tfamily\n" + "".join(f"l{i}\t{TRNA[i:]}\tf\n" for i in range(8))
    )
    Path("ids.txt").write_text("a\nb\n\nc\n")
    capsys.readouterr()
    assert run("compare", "long.tsv", "@ids.txt", "-c", name, "--top", "3") == 0
    out = capsys.readouterr().out
    assert "+ long.tsv  8 RNAs, mean" in out
    assert "- ids.txt  3 RNAs" in out
    conditions = ["length>=50", "length<=49 and length>=4"]
    assert run("compare", *conditions, "-c", name) == 1
    assert "first: 1 RNAs, expected 2 or more" in capsys.readouterr().err
    assert run(
        "compare", "long.tsv", "length<=49", "-c", name, "-o", "all.tsv", "--plot",
        "all.svg",
    ) == 0  # fmt: skip
    rows = Path("all.tsv").read_text().splitlines()
    assert rows[0].startswith("feature\tlabel\teffect")
    assert len(rows) > 3
    assert run("compare", "long.tsv", "long.tsv") == 1
    assert "8 RNAs are in the first group, too, such as 'l0'" in capsys.readouterr().err
    assert run("compare", "long.tsv", "type=x") == 1
    assert "need --collection" in capsys.readouterr().err

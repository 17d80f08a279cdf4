"""From files to a corpus: what is read, dropped, split and written."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.trainer.corpus.conftest import Build, group_in, parts_of, rnas_of

from ribolex.errors import CorruptInputError, InvalidRequestError, InvalidSequenceError
from ribolex.rna import Rna, read_alignment_rows, read_rnas, write_rnas
from ribolex.trainer.corpus import PARTS, CorpusOptions, build_corpus

TRAIN_CLAN, TEST_CLAN = group_in("train", "clan"), group_in("test", "clan")
TRAIN_FAMILY, TEST_FAMILY = group_in("train", "family"), group_in("test", "family")


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def stockholm(*alignments: str) -> str:
    return "".join(f"# STOCKHOLM 1.0\n{text}\n//\n" for text in alignments)


SEED = stockholm(
    f"#=GF AC RF1\n#=GF ID one\n#=GF TP Gene; tRNA;\n#=GF CL {TRAIN_CLAN}\n"
    "a/1 GGC-AAAAGCC\nb/1 ggctaa.agct\n#=GC SS_cons <<<.___.>>>",
    f"#=GF AC RF2\n#=GF CL {TEST_CLAN}\nc/1 GGAAACC\nd/1 GG--ACC",
    "#=GF ID only\ne/1 GGGG\nf/1 GGGA",
)


def test_stockholm_gives_rnas_structures_and_rows_by_part(
    tmp_path: Path, build: Build
) -> None:
    corpus = build(write(tmp_path, "Rfam.seed", SEED))
    rnas, parts = rnas_of(corpus), parts_of(corpus)
    assert rnas["a/1"] == Rna(
        "a/1",
        "GGCAAAAGCC",
        "(((....)))",
        {"family_acc": "RF1", "family": "one", "type": "Gene;tRNA", "clan": TRAIN_CLAN},
    )
    assert rnas["e/1"].metadata["family_acc"] == "only"
    assert [parts[name] for name in ("a/1", "b/1", "c/1", "d/1")] == [
        *["train"] * 2,
        *["test"] * 2,
    ]
    aligned = corpus.aligned("test")
    assert aligned is not None
    rows = [tuple(row) for row in read_alignment_rows(aligned)]
    assert rows == [("RF2", "c/1", "GGAAACC"), ("RF2", "d/1", "GG--ACC")]
    assert corpus.manifest.parts["test"].n_aligned == 2
    train = corpus.aligned("train")
    assert train is not None
    assert ("RF1", "b/1", "GGCUAA-AGCU") in map(tuple, read_alignment_rows(train))


def test_alignment_without_any_name_is_one_family(tmp_path: Path, build: Build) -> None:
    rnas = rnas_of(build(write(tmp_path, "x.sto", stockholm("a ACGU\nb AGGU"))))
    assert {r.metadata["family_acc"] for r in rnas.values()} == {"x.sto:1"}


def test_fasta_takes_labels_by_name_and_else_its_own_name(
    tmp_path: Path, build: Build
) -> None:
    fasta = write(tmp_path, "x.fa", ">a\nACGT\n>b\nGGGG\n>c\nCCCC\n")
    labels = write(
        tmp_path, "l.tsv", f"name\tclan\tfamily\na\t{TEST_CLAN}\tx\nz\tCL9\tz\n"
    )
    corpus = build(fasta, labels=labels)
    rnas = rnas_of(corpus)
    assert rnas["a"].metadata["clan"] == TEST_CLAN
    assert rnas["b"].metadata == {}
    assert parts_of(corpus)["a"] == "test"
    assert corpus.manifest.noted["label of no RNA that was kept"].examples == ("'z'",)
    assert corpus.manifest.labels is not None


def test_what_is_left_out_is_counted_with_reasons(tmp_path: Path, build: Build) -> None:
    path = write(
        tmp_path,
        "x.fa",
        ">ok\nACGUACGUAC\n>short\nACG\n>long\n" + "ACGU" * 10 + "\n>odd\nACGUJACG\n"
        ">vague\nACGUNNNN\n>again\nacgtacgtac\n>empty\n",
    )
    corpus = build(path, shortest=5, longest=20, max_ambiguous=0.2)
    assert set(rnas_of(corpus)) == {"again"}  # the first by name
    manifest = corpus.manifest
    assert manifest.n_read == 7
    assert {reason: tally.n for reason, tally in manifest.dropped.items()} == {
        "letters that are none of RNA": 2,
        "same sequence": 1,
        "too long": 1,
        "too many ambiguous letters": 1,
        "too short": 1,
    }
    (odd, empty) = manifest.dropped["letters that are none of RNA"].examples
    assert odd == f"{path}:7, 'odd': 'J' at position 5 is not an RNA letter"
    assert empty == f"{path}:13, 'empty': the sequence is empty"


def test_strict_stops_at_the_first_wrong_letter(tmp_path: Path, build: Build) -> None:
    path = write(tmp_path, "x.fa", ">a\nACGU\n>b\nACJU\n")
    with pytest.raises(InvalidSequenceError, match=r"x\.fa:3, 'b': 'J' at position 3"):
        build(path, strict=True)
    assert not (tmp_path / "corpus").exists()


def test_sequence_in_two_parts_stays_in_that_of_the_first_group(
    tmp_path: Path, build: Build
) -> None:
    one = write(
        tmp_path,
        "1.tsv",
        f"name\tsequence\tfamily_acc\nx\tACGU\t{TEST_FAMILY}\ny\tGGGG\t{TEST_FAMILY}\n",
    )
    two = write(
        tmp_path, "2.tsv", f"name\tsequence\tclan\nz\tACGU\t{TRAIN_CLAN}\nw\tCC\tC\n"
    )
    three = write(tmp_path, "3.fa", ">unlabelled\nACGU\n")
    corpus = build(one, two, three)
    parts = parts_of(corpus)
    assert parts["z"] == "train"  # clans come before families before names
    assert parts["y"] == "test"
    assert not {"x", "unlabelled"} & set(parts)
    moved = corpus.manifest.dropped["same sequence in another part"]
    assert f"'x' of family:{TEST_FAMILY}, as 'z' of clan:{TRAIN_CLAN}" in moved.examples


def test_row_of_a_sequence_that_went_elsewhere_is_no_row_of_the_family(
    tmp_path: Path, build: Build
) -> None:
    seed = stockholm(
        f"#=GF AC RF1\n#=GF CL {TEST_CLAN}\na GGAAA\nb GGCCC\nc GGUUU",
        f"#=GF AC RF2\n#=GF CL {TRAIN_CLAN}\nd --GGAAA\ne CCGGCC-\nf AAAAAAA",
    )
    corpus = build(write(tmp_path, "s.sto", seed))
    first = min(TEST_CLAN, TRAIN_CLAN)
    keeps, loses = ("test", "train") if first == TEST_CLAN else ("train", "test")
    shared = {"a", "d"}
    names = {}
    for part in ("train", "test"):
        path = corpus.aligned(part)
        assert path is not None
        names[part] = {row.name for row in read_alignment_rows(path)}
    assert len(names[keeps] & shared) == 1
    assert not names[loses] & shared


def test_family_has_the_clan_that_any_of_its_rnas_gives(
    tmp_path: Path, build: Build
) -> None:
    path = write(
        tmp_path,
        "x.tsv",
        "name\tsequence\tfamily_acc\tclan\n"
        f"a\tACGU\tRF1\t\nb\tGGGG\tRF1\t{TEST_CLAN}\nc\tCCCC\tRF1\tZZ\n",
    )
    corpus = build(path)
    assert {r.metadata["clan"] for r in rnas_of(corpus).values()} == {TEST_CLAN}
    assert set(parts_of(corpus).values()) == {"test"}
    (example,) = corpus.manifest.noted["family with differing clans"].examples
    assert example == f"RF1: none, {TEST_CLAN}, ZZ; taken as {TEST_CLAN}"


def test_larger_of_two_alignments_of_a_family_is_kept(
    tmp_path: Path, build: Build
) -> None:
    small = stockholm("#=GF AC RF1\na ACGU-\nb AGGUA")
    large = stockholm("#=GF AC RF1\na A-CGU\nb AGG-U\nc AG--U")
    one, two = write(tmp_path, "1.sto", small), write(tmp_path, "2.sto", large)
    corpus = build(one, two)
    (part,) = (p for p in PARTS if corpus.aligned(p))
    path = corpus.aligned(part)
    assert path is not None
    assert [r.aligned for r in read_alignment_rows(path)] == ["A-CGU", "AGG-U", "AG--U"]
    assert "second alignment of a family set aside" in corpus.manifest.noted


@pytest.mark.parametrize("structure", ["(..", "(..)).", "(...", "(.-)"])
def test_structure_that_does_not_fit_is_set_aside(
    tmp_path: Path, build: Build, structure: str
) -> None:
    text = f"name\tsequence\tstructure\na\tACGU\t{structure}\nb\tAGGU\t(..)\n"
    corpus = build(write(tmp_path, "x.tsv", text))
    rnas = rnas_of(corpus)
    assert (rnas["a"].structure, rnas["b"].structure) == (None, "(..)")
    assert corpus.manifest.noted["structure that does not fit, set aside"].n == 1


def draw(n_rnas: int) -> list[Rna]:
    generator = random.Random(0)
    rnas = []
    for i in range(n_rnas):
        family = generator.randrange(60)
        labels = {"family_acc": f"RF{family:05d}"}
        if family % 3 == 0:
            labels["clan"] = f"CL{family // 9:05d}"
        letters = "".join(generator.choices("ACGU", k=generator.choice([3, 30])))
        structure = "." * len(letters) if generator.random() < 0.5 else None
        rnas.append(Rna(f"r{i}", letters, structure, labels))
    return rnas


def test_order_of_files_and_rnas_changes_no_byte(tmp_path: Path, build: Build) -> None:
    rnas = draw(400)
    write_rnas(tmp_path / "1.tsv.gz", rnas[:250])
    write_rnas(tmp_path / "2.tsv.gz", rnas[250:])
    files = [tmp_path / "1.tsv.gz", tmp_path / "2.tsv.gz"]
    first, swapped = build(*files), build(*files[::-1], out="swapped")
    for file in first.folder.iterdir():
        assert file.read_bytes() == (swapped.folder / file.name).read_bytes()
    random.Random(1).shuffle(rnas)
    write_rnas(tmp_path / "3.tsv.gz", rnas)
    shuffled = build(tmp_path / "3.tsv.gz", out="shuffled")
    for part in PARTS:
        assert first.table(part).read_bytes() == shuffled.table(part).read_bytes()
        digests = [c.manifest.parts[part].digest for c in (first, shuffled)]
        assert digests[0] == digests[1]


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_growing_corpus_moves_no_group_and_no_sequence_is_twice(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("grow")
    rnas = draw(120)
    n_first = data.draw(st.integers(1, len(rnas)))
    write_rnas(folder / "1.tsv.gz", rnas[:n_first])
    write_rnas(folder / "2.tsv.gz", rnas)
    groups: dict[str, str] = {}
    for name in ("1", "2"):
        corpus = build_corpus(
            [folder / f"{name}.tsv.gz"],
            folder / name,
            CorpusOptions(shortest=1),
            lambda _stage, _n_rnas: None,
        )
        sequences: set[str] = set()
        for part in PARTS:
            for rna in read_rnas(corpus.table(part)):
                assert rna.sequence not in sequences
                sequences.add(rna.sequence)
                group = rna.metadata.get("clan") or rna.metadata["family_acc"]
                assert groups.setdefault(group, part) == part
    assert sequences == {rna.sequence for rna in rnas}


def test_repeated_names_are_noted(tmp_path: Path, build: Build) -> None:
    corpus = build(write(tmp_path, "x.fa", ">a\nACGU\n>a\nGGGG\n"))
    assert corpus.manifest.noted["name of more than one RNA"].examples == ("'a': 2",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty, expected RNAs"),
        (b"  \n\n", "is empty, expected RNAs"),
        (b"some words\n", "begins with 'some words"),
        (b"PK\x03\x04\x00\xff", "begins with"),
        (b"\x1f\x8b\x08\x00cut", "cannot be read"),
        (b"name\tsequence\nx\tAC\xffGU\n", "cannot be read"),
        (b"name\tsequence\nx\n", ":2: the line has too few columns"),
        (b"# STOCKHOLM 1.0\na ACGU\n", ":2: ends within the alignment"),
        (b"# STOCKHOLM 1.0\na ACGU\nb ACG\n//\n", ":4: 'b' of the alignment"),
    ],
)
def test_broken_file_is_named_and_nothing_written(
    tmp_path: Path, build: Build, content: bytes, message: str
) -> None:
    path = tmp_path / "x.any"
    path.write_bytes(content)
    with pytest.raises(CorruptInputError) as caught:
        build(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["x.any"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name\tsequence\n", "none of 0 RNAs is left: none was read"),
        (">a\n", "none of 1 RNAs is left: 1 letters that are none of RNA"),
        (">a\nACG\n", "none of 1 RNAs is left: 1 too short"),
    ],
)
def test_corpus_of_nothing_is_refused(
    tmp_path: Path, build: Build, content: str, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        build(write(tmp_path, "x.any", content), shortest=4)


def test_windows_line_ends_read_as_any(tmp_path: Path, build: Build) -> None:
    unix = write(tmp_path, "1.sto", SEED)
    dos = tmp_path / "2.sto"
    dos.write_bytes(SEED.replace("\n", "\r\n").encode())
    one, two = build(unix), build(dos, out="dos")
    for part in PARTS:
        assert one.table(part).read_bytes() == two.table(part).read_bytes()


def test_missing_file_is_named(tmp_path: Path, build: Build) -> None:
    with pytest.raises(CorruptInputError, match=r"none\.fa: cannot be read: No such"):
        build(tmp_path / "none.fa")


@pytest.mark.parametrize(
    "options",
    [{"shortest": 0}, {"shortest": 9, "longest": 8}, {"max_ambiguous": 1.5}]
    + [{"identity": -0.1}],
)
def test_options_that_cannot_be_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidRequestError, match="options"):
        CorpusOptions(**options)  # type: ignore[arg-type]

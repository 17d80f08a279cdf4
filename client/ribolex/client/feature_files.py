"""Where features fire, as tables for other programs: BED, GFF3, tab-separated.

BED counts from 0 and its stops are exclusive; the other two count from 1, ends
included. All strands are "+": an RNA is read as it is. Written as answers come.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TextIO
from urllib.parse import quote

from ribolex.client.features import Feature
from ribolex.client.matches import FeatureMatch, FeatureMatches, Stretch

Format = Literal["tsv", "bed", "gff3"]

COLUMNS = (
    "rna", "feature", "start", "end", "max_activation", "letters", "label",
)  # fmt: skip
_SEQID = "!$*+.:?@^_|-"
"""Beside letters and digits, what GFF3 has in a seqid as it is."""
_ATTRIBUTE = re.compile(r"[\x00-\x1f\x7f%;=&,]")
_BED_NAME = re.compile(r"[\s\x00-\x1f\x7f%]|^#|^(?=track|browser).")
_CELL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_SCORE = 1000


def write_matches(
    file: TextIO, form: Format, query: str, pages: Iterable[FeatureMatches]
) -> None:
    """Writes all pages of an answer, with a header even if nothing was found."""
    head, write = _FORMS[form]
    if form != "tsv":
        head += f"# {_CELL.sub(' ', query)}\n"
    for page in pages:
        file.write(head)
        head = ""
        features = {one.id: one for one in page.features}
        for match in page:
            file.writelines(write(match, features, str(page.dictionary)))


def bed_name(name: str) -> str:
    """Returns the name of an RNA as BED can hold it: no spaces, percent-encoded."""
    return _BED_NAME.sub(_encoded, name)


def gff3_seqid(name: str) -> str:
    """Returns the name of an RNA as GFF3 wants it, percent-encoded."""
    return quote(name, safe=_SEQID).replace("~", "%7E")


def _encoded(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found.group().encode())


_Write = Callable[[FeatureMatch, Mapping[int, Feature], str], list[str]]


def _bed(
    match: FeatureMatch, features: Mapping[int, Feature], dictionary: str
) -> list[str]:
    chrom = bed_name(match.rna.name)
    return [
        f"{chrom}\t{one.start}\t{one.stop}\tf{one.feature}\t"
        f"{_score(one, features[one.feature])}\t+\n"
        for one in sorted(match.stretches, key=_place)
    ]


def _score(one: Stretch, feature: Feature) -> int:
    """Returns the value as BED has it: 1000 is the largest that training saw."""
    if feature.max_activation <= 0:
        return _MAX_SCORE
    part = one.max_activation / feature.max_activation
    return min(_MAX_SCORE, round(_MAX_SCORE * part))


def _gff3(
    match: FeatureMatch, features: Mapping[int, Feature], dictionary: str
) -> list[str]:
    if not match.stretches:
        return []
    seqid = gff3_seqid(match.rna.name)
    lines = [f"##sequence-region {seqid} 1 {len(match.rna.sequence)}\n"]
    for one in sorted(match.stretches, key=_place):
        told = {
            "ID": f"{match.rna.name}:f{one.feature}:{one.start + 1}",
            "Name": f"f{one.feature}",
            "Note": features[one.feature].label,
            "dictionary": dictionary,
        }
        attributes = ";".join(
            f"{key}={_ATTRIBUTE.sub(_encoded, text)}"
            for key, text in told.items()
            if text
        )
        columns = (
            seqid, "ribolex", "sequence_feature", f"{one.start + 1}", f"{one.stop}",
            f"{one.max_activation:.6g}", "+", ".", attributes,
        )  # fmt: skip
        lines.append("\t".join(columns) + "\n")
    return lines


def _tsv(
    match: FeatureMatch, features: Mapping[int, Feature], dictionary: str
) -> list[str]:
    name = _CELL.sub(" ", match.rna.name)
    if not match.stretches:
        return ["\t".join((name, *("NA",) * (len(COLUMNS) - 1))) + "\n"]
    return [
        "\t".join(
            (
                name,
                f"f{one.feature}",
                f"{one.start + 1}",
                f"{one.stop}",
                f"{one.max_activation:.6g}",
                match.rna.sequence[one.start : one.stop],
                _CELL.sub(" ", features[one.feature].label),
            )  # fmt: skip
        )
        + "\n"
        for one in sorted(match.stretches, key=_place)
    ]


def _place(one: Stretch) -> tuple[int, int, int]:
    return one.start, one.stop, one.feature


_FORMS: Mapping[Format, tuple[str, _Write]] = {
    "tsv": ("\t".join(COLUMNS) + "\n", _tsv),
    "bed": ("", _bed),
    "gff3": ("##gff-version 3\n", _gff3),
}

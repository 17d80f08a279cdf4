"""Cards of features for a terminal: label, evidence, logo, where it fires.

Positions are counted from 1, places around a peak from it.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from ribolex.client import records
from ribolex.client.output import columns, has_ascii_only
from ribolex.client.tracks import Track, draw, marks, ranges

_LETTER_STYLES = {"A": "green", "C": "blue", "G": "yellow", "U": "red"}
_LOGO_ROWS = 4
_BITS = 2.0
_NARROW = 76
"""Below it figures are folded rather than cut."""
_WIDE = 100
"""Columns of a terminal from which on all measures are shown."""
_EVEN = 0.97
"""Entropy over RNA types from which on none of them stands out."""
_MARGIN = "    "
_NOTHING = records.Evidence("", "", math.nan, None, None, None)


def print_card(console: Console, card: records.FeatureCard) -> None:
    """Prints what is known about a feature."""
    feature = card.feature
    title = Text(f"f{feature.id}", "bold cyan").append(f" of {card.dictionary}", "dim")
    label = Text(feature.label or "no label", "bold")
    if len(title) + 2 + len(label) <= console.width:
        console.print(title.append("  ").append_text(label))
    else:
        console.print(title)
        _print_hanging(console, label)
    if (before := card.ancestor) is not None:
        told = f"was f{before.feature} in {before.dictionary}"
        _print_hanging(console, Text(f"{told}, sure to {before.confidence:.0%}"))
    for fact in _facts(feature):
        _print_hanging(console, Text(fact))
    if feature.profile is not None:
        _print_logo(console, feature.profile)
    _print_evidence(console, feature.evidence)
    if card.examples:
        console.print(Text("\n  where it fires most strongly", "dim"))
    for example in card.examples:
        _print_example(console, example)
    if card.nearest:
        console.print(Text("\n  nearest features by decoder direction", "dim"))
    for near in card.nearest:
        line = Text(f"{_MARGIN}{near.cosine:+.3f}  ").append(f"f{near.feature}", "cyan")
        console.print(line.append(f"  {near.label}"), no_wrap=True, overflow="ellipsis")
    if basis := _basis(card, console.width >= _WIDE):
        console.print()
        _print_hanging(console, Text(basis, "dim"))


def print_features(console: Console, features: Iterable[records.ListedFeature]) -> None:
    """Prints one line a feature."""
    is_wide = console.width >= _WIDE
    more = ("shape", ">sure") if is_wide else ()
    table = columns("feature", ">fires in", *more, "evidence", ">effect", ">q", "label")
    for each in features:
        feature, evidence = each.feature, each.evidence
        cells = []
        if is_wide:
            sure = feature.label_confidence
            cells = [feature.profile.shape if feature.profile else "-"]
            cells.append("-" if sure is None else f"{sure:.2f}")
        table.add_row(
            Text(f"f{feature.id}", "cyan"),
            f"{feature.density:.2%}",
            *cells,
            Text(_name(console, evidence.label) if evidence else "-"),
            f"{evidence.effect:.3g}" if evidence else "-",
            _number(evidence.q_value, ".0e") if evidence else "-",
            Text(feature.label),
        )
    console.print(table)


def _name(console: Console, label: str) -> str:
    """Returns a label; where there is little room, a type without what it is part of.

    "type:Gene;snRNA;snoRNA;CD-box" is then "type:..;CD-box".
    """
    kind, _, name = label.partition(":")
    parts = name.split(";")
    if kind != "type" or len(parts) < 3 or console.width >= _WIDE:
        return label
    return f"type:{'..' if has_ascii_only(console) else '…'};{parts[-1]}"


def _print_hanging(console: Console, text: Text) -> None:
    """Prints text two columns in, all of its lines."""
    console.print(Padding(text, (0, 0, 0, 2), expand=False))


def _facts(feature: records.Feature) -> list[str]:
    """Returns what is known without any label, a line each."""
    where = f"fires in {feature.density:.2%} of nucleotides"
    profile = feature.profile
    if profile is not None:
        where += (
            f" ({profile.n_firings:,} in {profile.n_rnas:,} RNAs of "
            f"{profile.n_families:,} families)"
        )
    lines = [
        f"{where}, there {feature.mean_activation:.2f} on average, "
        f"at most {feature.max_activation:.2f}; idf {feature.idf:.2f}"
    ]
    if feature.label_confidence is not None:
        lines.insert(
            0,
            f"sure to {feature.label_confidence:.0%}: in so many draws of clans of "
            "RNAs all of this holds",
        )
    if profile is None:
        return lines
    shape = f"shape: {profile.shape}"
    if profile.shape == "periodic":
        shape += f", every {profile.period} nt"
    elif profile.run_length:
        shape += f", longest run {profile.run_length} nt (median)"
    lines.append(shape + _types(profile))
    if profile.shuffled_ratio is not None:
        told = f"in shuffled RNAs it fires {profile.shuffled_ratio:.2f} times as often"
        if profile.is_composition_only:
            told += ": composition only, pairs of letters may explain it"
        lines.append(told)
    if profile.suggestion is not None:
        one = profile.suggestion
        lines.append(
            f"a language model says: {one.label} (predicts r = {one.score:.2f}, "
            f"another feature's label {one.control:.2f})"
        )
    return lines


def _types(profile: records.FeatureProfile) -> str:
    """Returns which RNA type it prefers, if it does."""
    largest, entropy = profile.type_selectivity, profile.type_entropy
    if largest is None or entropy is None:
        return ""
    if entropy >= _EVEN:
        return f"; in all RNA types about alike (entropy {entropy:.2f})"
    return (
        f"; prefers {profile.preferred_type} (selectivity {largest:.2f}, "
        f"entropy {entropy:.2f})"
    )


def _print_logo(console: Console, profile: records.FeatureProfile) -> None:
    """Prints letters as high as they are informative, and elements below them."""
    letters, elements = profile.letters, profile.elements
    if letters is None or not any(map(any, letters.shares)):
        return
    console.print(Text("\n  around its peak, all families alike", "dim"))
    heights = [_heights(shares, letters.signs) for shares in letters.shares]
    for row in range(_LOGO_ROWS, 0, -1):
        line = Text(_MARGIN)
        level = (row - 0.5) * _BITS / _LOGO_ROWS
        for column in heights:
            sign = _at(column, level)
            line.append(sign, _LETTER_STYLES.get(sign, ""))
        if line.plain.strip():
            console.print(line)
    ruler = "".join(
        "^" if place == 0 else "'" if place % 5 == 0 else " "
        for place in range(letters.first, letters.first + len(heights))
    )
    if elements is not None and any(map(any, elements.shares)):
        said = "".join(_commonest(shares, elements.signs) for shares in elements.shares)
        console.print(Text(_MARGIN + said).append("  commonest element", "dim"))
    first, last = letters.first, letters.first + len(heights) - 1
    console.print(Text(f"{_MARGIN}{ruler}  {first} to +{last}", "dim"))


def _heights(shares: Sequence[float], signs: str) -> list[tuple[float, str]]:
    """Returns how high each letter stands, in bits, the largest on top."""
    total = sum(shares)
    if total <= 0:
        return []
    parts = [share / total for share in shares]
    bits = _BITS + sum(part * math.log2(part) for part in parts if part > 0)
    ordered = sorted(zip(parts, signs, strict=True))
    return [(part * bits * min(total, 1.0), sign) for part, sign in ordered]


def _at(column: Sequence[tuple[float, str]], level: float) -> str:
    """Returns the letter that a column has at a height."""
    top = 0.0
    for height, sign in column:
        top += height
        if level <= top:
            return sign
    return " "


def _commonest(shares: Sequence[float], signs: str) -> str:
    share, sign = max(zip(shares, signs, strict=True))
    if share < 0.3:
        return "."
    return sign if share >= 0.6 else sign.lower()


def _print_evidence(console: Console, evidence: Sequence[records.Evidence]) -> None:
    """Prints one line a label, with all that was measured of it."""
    if not evidence:
        return
    console.print()
    is_wide = console.width >= _WIDE
    more = (">auroc", ">mcc", ">beats", ">f1 gain") if is_wide else (">mcc",)
    names = (">there", ">else", ">times", "95 %", *more, ">q", ">RNAs")
    table = columns("  goes with", *names, *((">families",) if is_wide else ()))
    if console.width >= _NARROW:
        for column in table.columns:
            column.no_wrap = True
    for label, rows in groupby(evidence, lambda one: one.label):
        found = {one.measure: one for one in rows}
        one = next(iter(found.values()))
        share = found.get("precision", found.get("share", _NOTHING))
        times, mcc = found.get("enrichment", _NOTHING), found.get("mcc", _NOTHING)
        told = [_number(mcc.effect, ".2f")]
        if is_wide:
            told = [
                _number(found.get("auroc", _NOTHING).effect, ".2f"),
                *told,
                _number(mcc.percentile, ".0%"),
                _number(found.get("f1_gain", _NOTHING).effect, "+.2f"),
            ]
        table.add_row(
            Text(f"  {_name(console, label)}"),
            _number(share.effect, ".0%"),
            _number(share.control, ".0%"),
            _number(times.effect, ".1f"),
            _interval(times),
            *told,
            _number(one.q_value, ".0e"),
            _number(one.support, ","),
            *((_number(one.n_families, ","),) if is_wide else ()),
        )
    console.print(table)


def _interval(one: records.Evidence) -> str:
    if one.low is None or one.high is None:
        return "-"
    return f"{one.low:.1f}-{one.high:.1f}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else format(value, form)


def _print_example(console: Console, example: records.FeatureExample) -> None:
    """Prints the part of an RNA around the strongest firing, if letters are known."""
    known = [
        example.metadata[key] for key in ("family", "type") if key in example.metadata
    ]
    line = Text("  in ", "dim").append(example.rna, "bold")
    line.append(f"  {', '.join(known)}" if known else "")
    line.append(
        f"  at {ranges(example.positions)}, at most {example.max_activation:.2f}"
    )
    console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
    if not (example.sequence and example.positions):
        return
    values = dict(
        zip(
            example.positions,
            example.values or [1.0] * len(example.positions),
            strict=True,
        )
    )
    is_plain = has_ascii_only(console)
    tracks = [Track("   ", example.sequence)]
    if len(example.structure) == len(example.sequence):
        tracks.append(Track("   ", example.structure, "dim"))
    signs = marks(len(example.sequence), values, ascii_only=is_plain)
    tracks.append(Track("   ", signs, "cyan"))
    peak = max(values, key=lambda place: values[place])
    for drawn in draw(tracks, console.width, around=peak):
        console.print(drawn, no_wrap=True, crop=True)


def _basis(card: records.FeatureCard, is_wide: bool) -> str:
    basis = card.basis
    if "RNAs" not in basis:
        return ""
    structures = [
        f"{number} structures {name.removeprefix('structures ')}"
        for name, number in basis.items()
        if name.startswith("structures ") and number != "0"
    ]
    told = [
        f"measured on {basis.get('nucleotides', '?')} nucleotides",
        f"{basis['RNAs']} RNAs",
        f"{basis.get('clans', '?')} clans",
        *structures,
        f"{basis.get('tests', '?')} tests",
    ]
    if against := basis.get("types, families and clans against"):
        told.append(f"types, families and clans against {against}")
    if is_wide and (control := basis.get("random control")):
        told.append(f"beats: share of {control}")
    return ", ".join(told)

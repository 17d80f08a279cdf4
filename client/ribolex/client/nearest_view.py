"""Near features as people read them, with what chance gives."""

from rich.console import Console
from rich.text import Text

from ribolex.client.nearest import NearestFeatures
from ribolex.client.output import columns

_MAX_FIRING = 5


def print_nearest(console: Console, title: str, found: NearestFeatures) -> None:
    """Prints what was asked for, what fires there, what is near, and what chance is."""
    head = Text(title, "bold").append(f" of {found.dictionary}", "not bold dim")
    _print(console, head)
    if found.firing:
        _print(console, Text("  fires there", "dim"))
    for one in found.firing[:_MAX_FIRING]:
        line = Text(
            f"    {one.n_nucleotides:>3} nt, at most {one.max_activation:5.2f}  "
        )
        line.append(f"f{one.feature}", "cyan").append(f"  {one.label or 'no label'}")
        _print(console, line)
    layers = {one.dictionary: one.layer for one in found.searched}
    chance = {one.dictionary: one.chance_high for one in found.searched}
    _print(console, Text('  nearest by decoder direction; "*" above chance', "dim"))
    table = columns("cosine", "feature", "dictionary", ">layer", "label")
    for near in found:
        ref = near.dictionary or found.dictionary
        table.add_row(
            f"{near.cosine:+.3f}{' *' if near.cosine > chance.get(ref, 1.0) else ''}",
            Text(f"f{near.feature}", "cyan"),
            Text(str(ref)),
            f"{layers.get(ref, '-')}",
            Text(near.label),
        )
    console.print(table)
    _print(console, Text("chance: nearest cosine of random directions", "dim"))
    for searched in found.searched:
        told = f"{searched.chance_median:.3f}, 95 % below {searched.chance_high:.3f}"
        where = f"{searched.dictionary}, layer {searched.layer}"
        _print(console, Text(f"  {told}  in {where}", "dim"))


def _print(console: Console, line: Text) -> None:
    console.print(line, no_wrap=True, overflow="ellipsis", crop=True)

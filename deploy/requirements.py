"""Prints what extras of pyproject.toml install, a requirement a line.

So that an image can install what Ribolex needs before, and apart from, Ribolex
itself: a layer that changes with the versions only, not with every line of code.
Usage: python deploy/requirements.py EXTRA… < pyproject.toml
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence

_OURS = re.compile(r"ribolex\[(\w+(?:-\w+)*)\]")


def requirements(extras: Mapping[str, Sequence[str]], extra: str) -> Iterator[str]:
    """Yields what an extra requires, but for the packages of this repository."""
    for requirement in extras[extra]:
        ours = _OURS.fullmatch(requirement)
        if ours is not None:
            yield from requirements(extras, ours[1])
        elif not requirement.startswith("ribolex"):
            yield requirement


def main() -> None:
    """Reads pyproject.toml from standard input."""
    project = tomllib.load(sys.stdin.buffer)["project"]
    extras = project["optional-dependencies"]
    needed = [line for extra in sys.argv[1:] for line in requirements(extras, extra)]
    sys.stdout.writelines(f"{line}\n" for line in [*project["dependencies"], *needed])


if __name__ == "__main__":
    main()

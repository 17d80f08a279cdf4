"""Which part of a corpus an RNA is in: decided by its clan's accession alone.

Knows nothing of which other RNAs there are, and so cannot depend on them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ribolex.errors import InvalidRequestError

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of groups, not of RNAs, that are held out; the rest is to train on."""

    validation: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        for name, share in (("validation", self.validation), ("test", self.test)):
            if not 0 <= share <= 1:
                raise InvalidRequestError(
                    f"shares.{name}", f"{share:g} found, expected 0 to 1"
                )
        if self.validation + self.test > 1:
            raise InvalidRequestError(
                "shares", f"{self.validation:g} and {self.test:g} are more than all"
            )


def group_of(name: str, metadata: Mapping[str, str]) -> str:
    """Returns what an RNA shares its part with: its clan, else family, else name.

    Sorts clans before families before names.
    """
    if clan := metadata.get("clan"):
        return f"clan:{clan}"
    if family := metadata.get("family_acc"):
        return f"family:{family}"
    return f"name:{name}"


def part_of(group: str, shares: Shares, salt: str) -> Part:
    """Returns the part of a group, the same for the same shares and salt for ever.

    SHA-256 of salt and group is a number from 0 to 1: validation comes first, test
    last. Other shares move groups between train and another part at most.
    """
    hashed = hashlib.sha256(f"{salt}\0{group}".encode(errors="surrogatepass"))
    place = int.from_bytes(hashed.digest()[:8])
    if place < shares.validation * 2**64:
        return "validation"
    if place >= (1 - shares.test) * 2**64:
        return "test"
    return "train"

"""Which dictionary version something is of."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DictionaryRef:
    """One version of one dictionary; str() gives "name@version"."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

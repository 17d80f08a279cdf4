"""Results that are costly and stay the same, kept in a file between runs.

Knows nothing of what a result means.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from ribolex.disk import write_whole
from ribolex.errors import CorruptInputError

Result = TypeVar("Result")
_ALL = TypeAdapter(dict[str, str])


class KeptResults:
    """Results by a key that tells all they depend on, in a JSON file or in none.

    The file is read at the start and rewritten whole after each addition, for one
    process at a time: a run that is killed has kept all that it had finished.

    Raises:
        CorruptInputError: the file holds something else.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._kept: dict[str, str] = {}
        if path is not None and path.exists():
            try:
                self._kept = _ALL.validate_json(path.read_bytes())
            except ValidationError as error:
                raise CorruptInputError(str(path), "holds no kept results") from error

    def recall(
        self,
        key: str,
        read: Callable[[str], Result],
        write: Callable[[Result], bytes],
        measure: Callable[[], Result],
    ) -> Result:
        """Returns the result kept under a key, or measures and keeps it.

        Args:
            key: tells all that the result depends on.
            read: makes a result of JSON.
            write: makes JSON of a result.
            measure: called if nothing is kept.
        """
        if key not in self._kept:
            self._kept[key] = write(measure()).decode()
            if self._path is not None:
                write_whole(self._path, _ALL.dump_json(self._kept, indent=1))
        return read(self._kept[key])

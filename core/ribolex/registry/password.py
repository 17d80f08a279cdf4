"""A client of the Redis at a URL, whose password may lie in a file.

`?password_file=PATH` in the URL names it; the file is read whenever a connection is
made, so that another password takes no restart. An empty file is no password. Knows
nothing of what Redis is used for.
"""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from redis import Redis
from redis.credentials import CredentialProvider

_OPTION = "password_file"


class _PasswordFile(CredentialProvider):
    """Gives what a file holds now."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[()]:  # type: ignore[override]
        """Returns the password, or nothing for an empty file.

        Raises:
            OSError: the file cannot be read.
        """
        password = self._path.read_text(encoding="utf-8").strip()
        return (password,) if password else ()


def redis_at(url: str, **options: Any) -> Any:
    """Returns a client; it connects when first used.

    Args:
        url: redis://, rediss:// or unix://.
        options: of redis-py.

    Raises:
        ValueError, TypeError: it is no such URL.
    """
    address, _, query = url.partition("?")
    told = dict(parse_qsl(query))
    file = told.pop(_OPTION, None)
    if file is not None:
        options["credential_provider"] = _PasswordFile(Path(file))
    rest = f"?{urlencode(told)}" if told else ""
    return Redis.from_url(f"{address}{rest}", **options)

"""A language model behind an OpenAI-compatible endpoint, asked over HTTP.

Off unless somebody names one. Knows nothing of what it is asked.
"""

import json
import logging
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from ribolex.errors import InvalidRequestError, NotReadyError

log = logging.getLogger(__name__)

_MAX_ANSWER_BYTES = 1 << 20
_TRIES = 4
_LONGEST_WAIT_S = 30.0
_PASSING = frozenset({408, 409, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask, and as whom."""

    url: str
    """Base, as "https://api.openai.com/v1"."""
    model: str
    key: str = field(default="", repr=False)
    """Sent as a bearer token; "" for none."""
    timeout_s: float = 120.0
    wait_s: float = 1.0
    """Before the second try; twice as long before each further one."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InvalidRequestError(
                "llm", f"{self.url!r} found, expected a URL with http:// or https://"
            )

    def ask(self, question: str) -> str:
        """Returns what the model answers, at temperature 0.

        Raises:
            NotReadyError: the endpoint does not answer, refuses, or answers something
                else than such endpoints do.
        """
        body = {
            "model": self.model,
            "temperature": 0,
            "messages": [{"role": "user", "content": question}],
        }
        for tried in range(1, _TRIES + 1):
            try:
                return _content(self._post(body))
            except urllib.error.HTTPError as error:
                error.close()
                problem = f"{error.code} {error.reason}"
                if error.code not in _PASSING or tried == _TRIES:
                    raise self._failed(problem) from error
                wait_s = _retry_after_s(error)
            except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
                problem = str(error) or type(error).__name__
                if tried == _TRIES:
                    raise self._failed(problem) from error
                wait_s = None
            wait_s = wait_s or self.wait_s * 2 ** (tried - 1)
            log.info("asking again in wait_s=%.1f: %s", wait_s, problem)
            time.sleep(min(wait_s, _LONGEST_WAIT_S))
        raise AssertionError  # the last try returns or raises

    def _post(self, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/chat/completions",
            json.dumps(body).encode(),
            headers,
        )
        with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:
            read: bytes = answer.read(_MAX_ANSWER_BYTES + 1)
        if len(read) > _MAX_ANSWER_BYTES:
            raise ValueError(f"an answer of more than {_MAX_ANSWER_BYTES} bytes")
        return json.loads(read)

    def _failed(self, problem: str) -> NotReadyError:
        return NotReadyError(
            f"the language model at {self.url} does not answer: {problem}"
        )


def _content(answer: Any) -> str:
    content = answer["choices"][0]["message"]["content"]
    if not isinstance(content, str):
        raise TypeError("the answer holds no text")
    return content


def _retry_after_s(error: urllib.error.HTTPError) -> float | None:
    told = error.headers.get("Retry-After", "")
    return float(told) if told.isdigit() else None

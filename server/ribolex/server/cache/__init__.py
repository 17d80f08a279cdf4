"""Codes that were computed before: kept in this process, and in a Redis on request.

`results` is what the engine asks. It finds the key of a task: all that its outcome
depends on; looks into `memory`, then into the `remote` one, whose failures a `breaker`
keeps from being waited for; and turns bytes into encodings by `packing`. A cache may be
empty, slow, away or wrong: then the engine computes as if there were none.
"""

__all__: list[str] = []

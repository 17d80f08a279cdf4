"""Commands of the client that fill a module of their own, and what all share."""

__all__: list[str] = []

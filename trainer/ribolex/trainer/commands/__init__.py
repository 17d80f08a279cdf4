"""The trainer's commands, one module each; heavy imports stay in their bodies."""

__all__: list[str] = []

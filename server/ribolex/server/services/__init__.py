"""The three services of `ribolex.v1`, each a thin shell.

A method decodes its request by `ribolex.server.convert`, calls the engine or a
collection, and encodes the answer. It raises what goes wrong; how that looks to a
caller is told in `ribolex.server.status`.
"""

__all__: list[str] = []

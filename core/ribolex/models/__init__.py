"""Named models: fetched from where they are published, checked, kept, converted.

`transfer` gets one file over HTTP, however often the connection drops; `hosts` asks
a host for a file's size and checksum; `pull` puts a model into the cache whole or
not at all. The names and the cache itself are told in `ribolex.lm.hub`; `cli` is
the command.
"""

__all__: list[str] = []

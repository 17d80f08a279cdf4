"""The server: a language model, its dictionaries and collections of RNAs, over gRPC.

A call goes down through four rooms. `services` turns messages into values and back,
with `convert` as the only reader of protobuf. `engine` lines sequences up and encodes
them in batches on the one thread that owns the model. `index` keeps collections on
disk and searches them. `app` builds all of it and takes it down; `cli` adds the
command `serve`.

Nothing is imported here, so that `ribolex --help` stays quick: take what you need
from the modules.
"""

__all__: list[str] = []

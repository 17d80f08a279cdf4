"""Sequences in, codes out, in batches, on the one thread that owns the model.

The `front` is what coroutines talk to. A caller's tasks are a `ticket` in the bounded
`queue`; a task that many wait for is one flight, and its windows are what waits. Just
before the model is free, `plan` picks the next batch among them; the `worker` lays it
out in one thread, hands it over, and computes it in the other as the `task` says:
`encoding` for codes, `embedding` for activations.
"""

__all__: list[str] = []

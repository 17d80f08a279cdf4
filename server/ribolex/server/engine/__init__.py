"""Sequences in, codes out, in batches, on the one thread that owns the model.

A caller's sequences wait as a ticket in the bounded `queue`. Each time the model is
free, `plan` picks the next batch and the `worker` computes it with `encoding`. The
`front` is what coroutines talk to.
"""

__all__: list[str] = []

"""Load on a server: the processes under it, who calls, and what is to hold.

`processes` starts servers and looks at them from outside; `caller` calls them; `speed`
measures, and `faults` does what is not to lose a call. `raw_engine` is the engine
without a server, to be measured beside it.
"""

__all__: list[str] = []

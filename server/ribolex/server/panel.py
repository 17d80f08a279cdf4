"""Whether a dictionary means the same features here as where it was made.

Its panel of RNAs goes the way of every request: this server's model, device and
precision. That warms the way up, too. Knows nothing of when it is to be checked.
"""

from collections.abc import Awaitable, Callable

from ribolex.dictionary import Codes, Dictionary
from ribolex.errors import IncompatibleDictionaryError
from ribolex.server.engine.encoding import EncodeTask, Recipe
from ribolex.server.engine.front import Engine

PANEL = "panel"
"""What does not fit, in the error of a dictionary that fails."""


def panel_check(
    engine: Engine, least_shared: float
) -> Callable[[Dictionary], Awaitable[None]]:
    """Returns a function that raises for a dictionary whose panel comes out otherwise.

    It raises IncompatibleDictionaryError, and what the engine may raise.

    Args:
        engine: what encodes.
        least_shared: share of the panel's firings that must be found, 0..1.
    """

    async def check(dictionary: Dictionary) -> None:
        panel, recipe = dictionary.panel, Recipe(dictionary.sae.k, None)
        found = []
        for text in panel.sequences:  # one by one: requests go first
            done = await engine.compute_task(EncodeTask(text, dictionary, recipe))
            found.append(done.codes)
        agreement = panel.compare(Codes.concatenate(found)) if found else None
        shared = agreement.shared if agreement else 0.0
        if shared < least_shared:
            raise IncompatibleDictionaryError(
                dictionary.ref,
                PANEL,
                f"reproduced to {shared:.4f} here",
                f"at least {least_shared:g}",
            )

    return check

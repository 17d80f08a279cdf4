"""What is computed for one sequence: window by window, in any order, in any batch.

The protocol between the engine, which knows windows, and `encoding` and `embedding`,
which know what becomes of them. Knows nothing of queues or threads.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from ribolex.lm import LanguageModel
from ribolex.lm.inference import Laid
from ribolex.lm.packing import bucket
from ribolex.lm.windows import Piece, Window, cut
from ribolex.rna import tokenise

Outcome_co = TypeVar("Outcome_co", covariant=True)
Outcome = TypeVar("Outcome")

_TOKENS_ALONE = 2048


class Draft(Protocol[Outcome_co]):
    """What one sequence becomes, while windows of it are missing. For one thread."""

    def take(self, window: Window, part: Any) -> None:
        """Adds what `run` gave for a window; each comes once, in any order."""

    def finish(self) -> Outcome_co:
        """Returns the whole, once all windows were taken."""


class Task(Protocol[Outcome_co]):
    """What is to be done with one sequence."""

    @property
    def text(self) -> str:
        """The sequence, as `read_sequence` gives it."""

    @property
    def key(self) -> Hashable:
        """Equal for all that one batch may hold, which are then of one class."""

    @property
    def identity(self) -> Hashable:
        """Equal for all that become the same: the sequence and all that matters."""

    def begin(self, lm: LanguageModel) -> Draft[Outcome_co]:
        """Returns an empty draft."""

    def run(
        self, lm: LanguageModel, laid: Sequence[Laid], tasks: Sequence[Any]
    ) -> Sequence[Any]:
        """Returns what becomes of each window of a batch, for their drafts.

        Args:
            lm: used by this thread alone.
            laid: the windows; member i is one of `tasks[i]`.
            tasks: all of this one's key, itself among them.
        """


def lay_out(
    lm: LanguageModel, windows: Iterable[tuple[Task[Any], Window]]
) -> list[Laid]:
    """Returns windows tokenised and packed on the device. From any thread."""
    return lm.lay_out(
        [
            Piece(member, window, tokenise(task.text[window.start : window.stop]))
            for member, (task, window) in enumerate(windows)
        ]
    )


def compute(lm: LanguageModel, tasks: Sequence[Task[Outcome]]) -> list[Outcome]:
    """Returns what each task becomes, in their order, computed at once in this thread.

    The simple twin of the engine. Equal tasks are computed once.
    """
    distinct = {task.identity: task for task in tasks}
    drafts = {identity: task.begin(lm) for identity, task in distinct.items()}
    windows = [(t, window) for t in distinct.values() for window in cut(len(t.text))]
    for key in dict.fromkeys(task.key for task in distinct.values()):
        same = [entry for entry in windows if entry[0].key == key]
        lengths = [n_tokens(window) for _, window in same]
        for group in bucket(lengths, _TOKENS_ALONE):
            batch = [same[i] for i in group]
            members = [task for task, _ in batch]
            parts = members[0].run(lm, lay_out(lm, batch), members)
            for (task, window), part in zip(batch, parts, strict=True):
                drafts[task.identity].take(window, part)
    done = {identity: draft.finish() for identity, draft in drafts.items()}
    return [done[task.identity] for task in tasks]


def n_tokens(window: Window) -> int:
    """Returns the tokens that the model reads for a window, with their frame."""
    return window.stop - window.start + 2


def cost(n_nucleotides: int) -> int:
    """Returns the tokens that the model reads for a sequence, overlaps included."""
    return sum(map(n_tokens, cut(n_nucleotides)))


def longest_within(max_tokens: int) -> int:
    """Returns the nucleotides of the longest sequence that costs at most so much.

    Args:
        max_tokens: >= 0; with less than a sequence of one nucleotide costs it is 0.
    """
    low, high = 0, max_tokens
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(middle) <= max_tokens else (low, middle - 1)
    return low

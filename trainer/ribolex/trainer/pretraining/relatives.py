"""Finds relatives by every method that is compared, part by part.

What a part has found is kept, so that a run that was killed goes on, and what needs
no model is found once for all models. A model reads the database only where a part is
missing. Knows nothing of how figures are shown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from pydantic import TypeAdapter

from ribolex.dictionary import Dictionary
from ribolex.lm import LanguageModel
from ribolex.trainer.pretraining.kept import KeptResults
from ribolex.trainer.pretraining.rankings import (
    Representation,
    by_alignment,
    by_letters,
    by_means,
    by_words,
    encode,
    fit_projections,
    represent,
)
from ribolex.trainer.pretraining.retrieval import (
    Cases,
    Found,
    Ranker,
    RetrievalScores,
    score_rankings,
)

Note = Callable[[str, int, int], None]
"""Told a stage's name, and how much of it is done of how much."""
_NAME = "representation"
_WORD_LENGTHS = (4, 5, 6)
_form = TypeAdapter(Found)
_FORM = _form.validate_json, _form.dump_json


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is asked of every method, and where it is kept what they found."""

    cases: Cases
    sample: Sequence[str]
    """Training RNAs whose representation's principal components are taken."""
    width: int
    """Whitened components that are aligned."""
    plain_width: int
    """Components of the random twin that are aligned as they are, too."""
    kept: KeptResults
    key: str
    """Tells all that results depend on but the model and its dictionary."""
    note: Note | None = None

    def without_model(self) -> dict[str, RetrievalScores]:
        """Returns the scores of letters and of words of letters."""
        database = self.cases.database
        out = self._rank("letters", partial(by_letters, database))
        for k in _WORD_LENGTHS:
            out |= self._rank(f"{k}-mers", partial(by_words, database, k))
        return out

    def with_model(
        self, lm: LanguageModel, dictionary: Dictionary | None
    ) -> dict[str, RetrievalScores]:
        """Returns the scores of a model's representation and of its sparse codes.

        The dictionary, if any, is of this model.
        """
        out = self._with_representation(lm, [_NAME])
        if dictionary is None:
            return out
        stage, told = f"codes of {dictionary.ref}", self._told("encode")

        def codes() -> Ranker:
            arrays = encode(lm, dictionary, self.cases.database, told)
            return by_alignment(arrays, "codes")

        return out | self._rank(stage, codes, f"{_of(lm)} {dictionary.content_id}")

    def with_twin(self, twin: LanguageModel) -> dict[str, RetrievalScores]:
        """Returns the scores of what a model is put to, and of fewer plain components.

        The first few components of a random network are all that varies: they tell the
        letter. Aligned as they are, they are letters by another name, and a rival.
        """
        return self._with_representation(twin, [_NAME, f"{_NAME} not whitened"])

    def _with_representation(
        self, lm: LanguageModel, names: Sequence[str]
    ) -> dict[str, RetrievalScores]:
        """Returns the scores of whitened components, their means, and plain ones."""

        @cache
        def read() -> Representation:
            widths = self.width, self.plain_width
            projections = fit_projections(lm, self.sample, *widths)[: len(names)]
            told = self._told(f"run {lm.name}")
            return represent(lm, self.cases.database, projections, told)

        def aligned(place: int) -> Ranker:
            return by_alignment(read().arrays[place], names[place])

        def averaged() -> Ranker:
            return by_means(read().means, _NAME)

        key = f"{_of(lm)} {self.width} {self.plain_width}"
        out = self._rank(f"{lm.name}, means", averaged, key)
        for place, name in enumerate(names):
            out |= self._rank(f"{lm.name}, {name}", partial(aligned, place), key)
        return out

    def _rank(
        self, stage: str, make: Callable[[], Ranker], model: str = ""
    ) -> dict[str, RetrievalScores]:
        """Returns the scores of a ranker, which is made if a part is missing."""
        made = cache(make)

        def recall(part: str, measure: Callable[[], Found]) -> Found:
            key = f"{stage}, {part}: {self.key} {model}"
            return self.kept.recall(key, *_FORM, measure)

        return score_rankings(
            self.cases, lambda queries: made()(queries), self._told(stage), recall
        )

    def _told(self, stage: str) -> Callable[[int, int], None] | None:
        return None if self.note is None else partial(self.note, stage)


def _of(lm: LanguageModel) -> str:
    return f"{lm.digest} {lm.dtype}"

"""Comparisons of two groups of RNAs: found, read, shuffled, held against each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ribolex.dictionary import Dictionary, SequenceCode, pool
from ribolex.dictionary.groups import Sample, compare_groups
from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna
from ribolex.rna.shuffle import shuffle
from ribolex.server.convert import codes as convert
from ribolex.server.convert.groups import (
    Comparison,
    Facts,
    Group,
    Unit,
    decode_comparison,
    encode_contrast,
)
from ribolex.server.engine.encoding import EncodeTask, Encoding, Recipe, read_sequence
from ribolex.server.engine.task import cost
from ribolex.server.engine.ticket import Spent
from ribolex.server.index.collection import Collection
from ribolex.server.index.listing import Listed
from ribolex.server.index.metadata import Condition
from ribolex.server.portions import portions
from ribolex.server.services.search import Caller, Patience
from ribolex.v1 import collection_pb2

_MIN_UNITS = 10
"""In each group, for clans to be taken for observations unasked: of fewer no feature by
itself can pass a false-discovery rate over thousands."""
_READ = 64
"""Stored RNAs read at once: others use the collection in between."""
_PAGE, _MAX_PAGE = 1000, 1_000_000
"""RNAs, and letters, of a list read at once."""
_MAX_PART = 65_536
"""Tokens that are asked of the model at once."""


class _Member(NamedTuple):
    """An RNA of a group."""

    rna: Rna
    code: SequenceCode | None
    """Pooled by max; None until it is computed."""


class _Drawn(NamedTuple):
    """The RNAs of a group that are looked at."""

    members: list[_Member]
    n_found: int


async def compare(
    caller: Caller, request: collection_pb2.CompareGroupsRequest
) -> collection_pb2.CompareGroupsResponse:
    """Returns how two groups of RNAs differ.

    Raises:
        RibolexError: what CompareGroups fails with.
        TimeoutError: the deadline passed.
    """
    begun_s = time.monotonic()
    patience = Patience(caller.deadline_s)
    comparison = decode_comparison(request)
    work = await _Work.begin(caller, request, comparison)
    try:
        groups = await work.draw()
        refuse_shared(*([one.rna for one in group.members] for group in groups))
        both = [one for group in groups for one in group.members]
        work.check_size(both)
        codes = await work.encode(both)
        shuffled = await work.shuffle(both) if comparison.is_shuffled else None
        n_first = len(groups[0].members)
        unit, units = choose_units([one.rna for one in both], n_first, comparison.unit)
        contrast = await asyncio.to_thread(
            compare_groups,
            Sample(codes, shuffled, n_first, units),
            work.dictionary.sae.n_features,
            comparison.seed,
            patience.check,
        )
    finally:
        patience.leave()
    facts = (
        _facts(groups[0], units[:n_first]),
        _facts(groups[1], units[n_first:]),
    )
    caller.backend.metrics.compared_rnas.inc(len(both))
    response = encode_contrast(contrast, comparison, facts, unit, work.dictionary)
    total_s = time.monotonic() - begun_s
    timing = convert.encode_timing(work.queue_s, work.batches, total_s)
    response.timing.CopyFrom(timing)
    convert.check_size(
        response, caller.backend.max_message_bytes, "max_features", "ask for fewer"
    )
    return response


def refuse_shared(first: Sequence[Rna], second: Sequence[Rna]) -> None:
    """Does nothing if no RNA, by name and sequence, is in both groups.

    Raises:
        InvalidRequestError: names the first of the second group that is.
    """
    known = {(rna.name, rna.sequence) for rna in first}
    shared = [rna.name for rna in second if (rna.name, rna.sequence) in known]
    if shared:
        raise _shared(shared)


def _shared(names: Sequence[str]) -> InvalidRequestError:
    return InvalidRequestError(
        "second",
        f"{len(names)} RNAs are in the first group, too, such as {names[0]!r}, "
        "expected none",
    )


def choose_units(
    rnas: Sequence[Rna], n_first: int, wanted: Unit | None
) -> tuple[Unit, np.ndarray]:
    """Returns what is one observation, and the number of each RNA's.

    Args:
        rnas: those of the first group before those of the second.
        n_first: RNAs of the first group.
        wanted: None for clans, if they are told and each group has enough of them,
            else RNAs.
    """
    by_clan = _numbered(_unit_of(rna, "clan") for rna in rnas)
    if wanted is None:
        is_told = any(_unit_of(rna, "clan") for rna in rnas)
        n_units = min(len(set(by_clan[:n_first])), len(set(by_clan[n_first:])))
        wanted = "clan" if is_told and n_units >= _MIN_UNITS else "rna"
    if wanted == "clan":
        return wanted, by_clan
    if wanted == "family":
        return wanted, _numbered(_unit_of(rna, "family") for rna in rnas)
    return wanted, np.arange(len(rnas))


def _unit_of(rna: Rna, unit: Unit) -> str:
    """Returns the unit that an RNA tells of; "" if it tells none."""
    known: Mapping[str, str] = rna.metadata
    family = known.get("family_acc") or known.get("family") or ""
    clan = known.get("clan") or ""
    if unit == "clan" and clan:
        return f"clan {clan}"
    return f"family {family}" if family else ""


def _numbered(names: Iterator[str]) -> np.ndarray:
    """Returns a number for each name; those without one have one of their own."""
    numbers: dict[str | int, int] = {}
    return np.array(
        [numbers.setdefault(name or i, len(numbers)) for i, name in enumerate(names)],
        np.int64,
    )


def _facts(group: _Drawn, units: np.ndarray) -> Facts:
    lengths = [len(one.rna.sequence) for one in group.members]
    n_units = len(set(units.tolist()))
    return Facts(group.n_found, len(lengths), n_units, float(np.mean(lengths)))


class _Work:
    """One comparison at work.

    Attributes:
        dictionary: That features belong to.
        queue_s: Waited for the model so far.
        batches: Of the model, as in `Answer`.
    """

    def __init__(
        self,
        caller: Caller,
        collection: str,
        comparison: Comparison,
        dictionary: Dictionary,
    ) -> None:
        self._caller, self._backend = caller, caller.backend
        self._collection, self._comparison = collection, comparison
        self._generator = np.random.default_rng(comparison.seed)
        self.dictionary = dictionary
        self.queue_s = 0.0
        self.batches: dict[int, Spent] = {}

    @classmethod
    async def begin(
        cls,
        caller: Caller,
        request: collection_pb2.CompareGroupsRequest,
        comparison: Comparison,
    ) -> _Work:
        """Returns the work, once its dictionary is there."""
        backend = caller.backend
        name, version = request.dictionary.name, request.dictionary.version
        if request.collection:
            facts = (await backend.collections.summary(request.collection)).facts
            name, version = facts.dictionary, facts.version
        found = await backend.dictionaries.fitting(name, version)
        return cls(caller, request.collection, comparison, found.dictionary)

    async def draw(self) -> tuple[_Drawn, _Drawn]:
        """Returns the RNAs of both groups, stored ones with their codes."""
        pair = (self._comparison.first, "first"), (self._comparison.second, "second")
        names = [await self._names(group) for group, _ in pair]
        if shared := set(names[0]) & set(names[1]):
            raise _shared(sorted(shared))
        refuse_shared(self._comparison.first.rnas, self._comparison.second.rnas)
        drawn = []
        for (group, field), own in zip(pair, names, strict=True):
            n_found = len(own) if group.is_stored else len(group.rnas)
            if n_found < 2:
                raise InvalidRequestError(field, f"{n_found} RNAs, expected 2 or more")
            chosen = np.arange(n_found)
            if n_found > self._comparison.max_rnas:
                size = self._comparison.max_rnas
                chosen = np.sort(self._generator.choice(n_found, size, replace=False))
            if group.is_stored:
                members = await self._read([own[i] for i in chosen])
            else:
                members = await asyncio.to_thread(self._check, group, field, chosen)
            drawn.append(_Drawn(members, n_found))
        return drawn[0], drawn[1]

    async def _names(self, group: Group) -> list[str]:
        if not group.where:
            return list(group.names)
        names: list[str] = []
        is_last = False
        while not is_last:
            after = names[-1] if names else ""
            page = await self._backend.collections.run(
                self._collection,
                partial(_page, where=group.where, after=after),
            )
            names += [rna.name for rna in page.rnas]
            is_last = page.is_last
        return names

    async def _read(self, names: Sequence[str]) -> list[_Member]:
        content_id = self.dictionary.content_id
        members: list[_Member] = []

        def read(part: Sequence[str], collection: Collection) -> list[_Member]:
            if collection.facts.content_id != content_id:
                raise InvalidRequestError(
                    "collection", "came under another dictionary, expected the same"
                )
            records = [collection.get(name) for name in part]
            return [_Member(one.rna, pool(one.codes, "max")) for one in records]

        for start in range(0, len(names), _READ):
            part = names[start : start + _READ]
            members += await self._backend.collections.run(
                self._collection, partial(read, part)
            )
        return members

    def _check(self, group: Group, field: str, chosen: np.ndarray) -> list[_Member]:
        longest, members = self._backend.engine.max_nucleotides, []
        for i in chosen:
            rna, where = group.rnas[i], f"{field}.rnas[{i}].sequence"
            text = read_sequence(rna.sequence, where, longest, degap=False)
            members.append(_Member(Rna(rna.name, text, None, rna.metadata), None))
        return members

    def check_size(self, members: Sequence[_Member]) -> None:
        """Does nothing if the model may be asked to read so much.

        Raises:
            InvalidRequestError: it is too much.
        """
        limit = self._backend.max_scan_tokens
        costs = [cost(len(one.rna.sequence)) for one in members]
        n_tokens = sum(costs) if self._comparison.is_shuffled else 0
        n_tokens += sum(
            each for each, one in zip(costs, members, strict=True) if one.code is None
        )
        if n_tokens > limit:
            raise InvalidRequestError(
                "max_rnas",
                f"{len(members)} RNAs, {n_tokens} tokens to read, expected at most "
                f"{limit} (--max-scan-tokens): look at fewer",
            )

    async def encode(self, members: Sequence[_Member]) -> list[SequenceCode]:
        """Returns the codes of all members; computes those that are not known."""
        missing = [one.rna.sequence for one in members if one.code is None]
        computed = iter(await self._compute(missing))
        return [one.code or next(computed) for one in members]

    async def shuffle(self, members: Sequence[_Member]) -> list[SequenceCode]:
        """Returns the codes of all members with their letters shuffled."""
        texts = [one.rna.sequence for one in members]
        shuffled = await asyncio.to_thread(
            lambda: [shuffle(text, self._generator) for text in texts]
        )
        return await self._compute(shuffled)

    async def _compute(self, texts: Sequence[str]) -> list[SequenceCode]:
        recipe = Recipe(self.dictionary.sae.k, "max", rows=False)
        limit = min(_MAX_PART, self._backend.engine.max_tokens // 4)
        codes: list[SequenceCode] = []
        for part in portions(texts, lambda text: cost(len(text)), limit):
            tasks = [EncodeTask(text, self.dictionary, recipe) for text in part]
            done = await self._backend.engine.compute_bulk(
                tasks, self._caller.deadline_s
            )
            self.queue_s += done.queue_s
            self.batches |= done.batches
            codes += map(_pooled, done.outcomes)
        return codes


def _page(collection: Collection, where: Sequence[Condition], after: str) -> Listed:
    return collection.list_rnas(where, after, _PAGE, _MAX_PAGE)


def _pooled(encoding: Encoding) -> SequenceCode:
    assert encoding.pooled is not None  # the recipe says so
    return encoding.pooled

"""Scans of variants: read by the model group after group, told as they are computed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple

from ribolex.dictionary import Dictionary
from ribolex.errors import InvalidRequestError
from ribolex.rna.variants import Variant
from ribolex.server.convert import codes as convert
from ribolex.server.convert import parts
from ribolex.server.convert.encoder import decode_k
from ribolex.server.convert.variants import (
    Bounds,
    Scan,
    decode_scan,
    encode_header,
    encode_result,
)
from ribolex.server.effects import Effect, Reference, hidden_of
from ribolex.server.engine.front import Done
from ribolex.server.engine.scoring import LetterTable, MaskedTask, Scored, ScoreTask
from ribolex.server.engine.ticket import Spent
from ribolex.server.services.gate import Backend
from ribolex.server.services.streaming import in_order
from ribolex.server.status import reason_of
from ribolex.v1 import codes_pb2, variants_pb2

_IN_FLIGHT = 2
"""Groups at work: one is computed while another is compared and told."""
_BATCHES = 4
"""Of the model, that a group is worth."""


async def scan_variants(
    backend: Backend,
    request: variants_pb2.ScanVariantsRequest,
    deadline_s: float | None,
) -> AsyncGenerator[variants_pb2.ScanVariantsResponse, None]:
    """Yields the answer to a scan.

    Raises:
        RibolexError: what ScanVariants fails with.
        TimeoutError: the deadline passed.
    """
    begun_s = time.monotonic()
    bounds = Bounds(backend.engine.max_nucleotides, backend.max_scan_tokens)
    scan = await asyncio.to_thread(decode_scan, request, bounds)
    ref = request.dictionary
    dictionary = (await backend.dictionaries.fitting(ref.name, ref.version)).dictionary
    k = decode_k(request.k, "k", dictionary)
    task = ScoreTask(scan.reference, dictionary, k)
    done = await backend.engine.compute_bulk([task], deadline_s)
    (scored,) = done.outcomes
    reference = Reference(scan.reference, scored, scan.look)
    yield variants_pb2.ScanVariantsResponse(
        header=encode_header(scan, reference, scored, dictionary),
        timing=_timing((done,), begun_s),
    )
    work = _Work(backend, scan, reference, dictionary, k, deadline_s)
    answers = in_order(work.groups(), work.answer, in_flight=_IN_FLIGHT)
    async with aclosing(answers):
        async for _, (messages, timing) in answers:
            for results in messages:
                yield variants_pb2.ScanVariantsResponse(results=results, timing=timing)


class _Answer(NamedTuple):
    """The results of a group, in lists that each fit into a message."""

    messages: list[list[variants_pb2.VariantResult]]
    timing: codes_pb2.Timing


class _Made(NamedTuple):
    """Some variants side by side, and what is to be computed for them."""

    members: list[Variant | InvalidRequestError]
    """Each of them, or what is wrong with it."""
    sound: list[Variant]
    hidden: list[tuple[int, ...] | None]
    """Of the sound ones."""


@dataclass(frozen=True, slots=True)
class _Work:
    """A scan at work."""

    backend: Backend
    scan: Scan
    reference: Reference
    dictionary: Dictionary
    k: int
    deadline_s: float | None

    async def groups(self) -> AsyncGenerator[range, None]:
        """Yields the numbers of variants that the model reads in some batches."""
        scan, limits = self.scan, self.backend.engine.queue.limits
        max_tokens = min(_BATCHES * limits.batch_tokens, limits.max_tokens // 4)
        size = max(1, max_tokens * scan.n_variants // scan.n_tokens)
        for first in range(0, scan.n_variants, size):
            yield range(first, min(first + size, scan.n_variants))

    async def answer(self, group: range) -> _Answer:
        """Returns what became of each variant of a group."""
        begun_s, engine = time.monotonic(), self.backend.engine
        made = await asyncio.to_thread(self._make, group)
        tasks = [ScoreTask(one.sequence, self.dictionary, self.k) for one in made.sound]
        sets = list(dict.fromkeys(one for one in made.hidden if one is not None))
        masks = [MaskedTask(self.scan.reference, one) for one in sets]
        scored = await engine.compute_bulk(tasks, self.deadline_s)
        masked = await engine.compute_bulk(masks, self.deadline_s)
        tables = dict(zip(sets, masked.outcomes, strict=True))
        messages = await asyncio.to_thread(
            self._encode, group.start, made, scored.outcomes, tables
        )
        self._count(made)
        return _Answer(messages, _timing((scored, masked), begun_s))

    def _make(self, group: range) -> _Made:
        members: list[Variant | InvalidRequestError] = []
        for i in group:
            try:
                members.append(self.scan.make(i))
            except InvalidRequestError as error:
                members.append(error)
        sound = [one for one in members if isinstance(one, Variant)]
        return _Made(members, sound, [hidden_of(one) for one in sound])

    def _encode(
        self,
        first: int,
        made: _Made,
        scored: Sequence[Scored],
        tables: Mapping[tuple[int, ...], LetterTable],
    ) -> list[list[variants_pb2.VariantResult]]:
        """Returns the results of a group, compared and packed."""
        sound = zip(made.sound, scored, made.hidden, strict=True)

        def results() -> Iterator[variants_pb2.VariantResult]:
            for i, one in enumerate(made.members, start=first):
                outcome: Effect | InvalidRequestError
                if isinstance(one, Variant):
                    variant, read, hidden = next(sound)
                    table = None if hidden is None else tables[hidden]
                    outcome = self.reference.effect(variant, read, table)
                else:
                    outcome = one
                yield encode_result(i, outcome, self.dictionary)

        return list(parts.in_parts(results()))

    def _count(self, made: _Made) -> None:
        metrics = self.backend.metrics
        metrics.scanned_variants.inc(len(made.sound))
        for one in made.members:
            if isinstance(one, InvalidRequestError):
                metrics.rejected_sequences.labels(reason_of(one).lower()).inc()


def _timing(done: Iterable[Done[Any]], begun_s: float) -> codes_pb2.Timing:
    batches, queue_s = dict[int, Spent](), 0.0
    for one in done:
        batches |= one.batches
        queue_s += one.queue_s
    return convert.encode_timing(queue_s, batches, time.monotonic() - begun_s)

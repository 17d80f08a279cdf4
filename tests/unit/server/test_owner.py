"""Changes of many callers share transactions, and each is told of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.server.agreement import check_agreement
from tests.unit.server.conftest import RandomCodes, encoded

from ribolex.dictionary import Dictionary
from ribolex.errors import CollectionNotFoundError, InvalidRequestError
from ribolex.server.index.collection import Change, Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.intake import Storing
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.owner import Owner
from ribolex.server.index.records import Removal
from ribolex.server.index.upkeep import RelativesOptions


class Commits(list[int]):
    """Sizes of the transactions of an owner."""

    def add(self, n_changes: int, took_s: float) -> None:
        self.append(n_changes)


@asynccontextmanager
async def owning(
    folder: Path, dictionary: Dictionary, commits: Commits | None = None
) -> AsyncIterator[Owner]:
    Collection.create(folder, Facts.of("c", dictionary, SearchMeasure()))
    on_commit = (Commits() if commits is None else commits).add
    owner = Owner(folder, RelativesOptions(), "", on_commit)
    await owner.load(dictionary)
    yield owner
    await owner.run(check_agreement)
    await owner.close()


async def busy(owner: Owner) -> threading.Event:
    """Keeps the thread at work until the event is set."""
    go_on, begun = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(_: Collection) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)

    blocking = asyncio.ensure_future(owner.run(wait))
    await begun.wait()
    go_on.job = blocking  # type: ignore[attr-defined]
    return go_on


async def test_changes_that_wait_share_a_transaction_in_their_order(
    tmp_path: Path, dictionary: Dictionary, random_codes: RandomCodes
) -> None:
    async with owning(tmp_path, dictionary, commits := Commits()) as owner:
        one = encoded("one", random_codes(3))
        changes: list[Change] = [Storing([one]), Removal(["one"]), Storing([one])]
        changes += [Storing([encoded(f"r{i}", random_codes(4))]) for i in range(9)]
        go_on = await busy(owner)
        waiting = [asyncio.ensure_future(owner.write(each)) for each in changes]
        await asyncio.sleep(0)
        go_on.set()
        done = await asyncio.gather(*waiting)
        assert commits == [12]
        assert [x.n_inserted for x in done] == [1, 0] + [1] * 10
        assert done[1].n_deleted == 1
        assert owner.n_rnas == 10


async def test_a_change_that_cannot_be_written_fails_alone(
    tmp_path: Path,
    dictionary: Dictionary,
    random_codes: RandomCodes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with owning(tmp_path, dictionary) as owner:
        codes = random_codes(3)
        bad = encoded("bad", codes)._replace(fvu=None)  # type: ignore[arg-type]
        go_on = await busy(owner)
        changes = [[encoded("a", codes)], [bad], [encoded("b", codes)]]
        jobs = [asyncio.ensure_future(owner.write(Storing(c))) for c in changes]
        await asyncio.sleep(0)
        go_on.set()
        done = await asyncio.gather(*jobs, return_exceptions=True)
        assert [isinstance(one, Exception) for one in done] == [False, True, False]
        assert owner.n_rnas == 2
        assert "written apart" in caplog.text


async def test_a_change_with_too_many_keys_fails_alone(
    tmp_path: Path, dictionary: Dictionary, random_codes: RandomCodes
) -> None:
    async with owning(tmp_path, dictionary) as owner:

        def storing(name: str, keys: range) -> Storing:
            known = {f"k{i:03}": "x" for i in keys}
            return Storing([encoded(name, random_codes(3), **known)])

        changes = [storing(f"r{i}", range(60 * i, 60 * i + 60)) for i in range(4)]
        changes += [storing("more", range(230, 256)), storing("less", range(231, 256))]
        go_on = await busy(owner)
        jobs = [asyncio.ensure_future(owner.write(one)) for one in changes]
        jobs.append(asyncio.ensure_future(owner.write(storing("last", range(260)))))
        await asyncio.sleep(0)
        go_on.set()
        done = await asyncio.gather(*jobs, return_exceptions=True)
        assert [one for one in done[:6] if isinstance(one, BaseException)] == []
        assert str(done[-1]) == (
            "metadata['k256']: makes it 260 different keys in the collection, "
            "expected at most 256: what differs from RNA to RNA belongs in values"
        )
        # Keys that no RNA has any more make room.
        await owner.write(Removal(["r0", "more", "less"]))
        await owner.write(storing("other", range(1000, 1076)))
        with pytest.raises(InvalidRequestError, match="makes it 257"):
            await owner.write(storing("one", range(1076, 1077)))


async def test_a_caller_that_left_holds_up_nobody(
    tmp_path: Path, dictionary: Dictionary, random_codes: RandomCodes
) -> None:
    async with owning(tmp_path, dictionary) as owner:
        go_on = await busy(owner)
        rnas = [encoded(name, random_codes(3)) for name in "ab"]
        left, other = (asyncio.ensure_future(owner.write(Storing([r]))) for r in rnas)
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.sleep(0)
        go_on.set()
        assert (await other).n_inserted == 1
        assert owner.n_rnas == 1


async def test_large_groups_are_cut_and_searches_go_between(
    tmp_path: Path,
    dictionary: Dictionary,
    random_codes: RandomCodes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ribolex.server.index.owner._MAX_GROUP", 4)
    async with owning(tmp_path, dictionary, commits := Commits()) as owner:
        go_on = await busy(owner)
        codes = random_codes(2)
        groups = [[encoded(f"{i}-{j}", codes) for j in range(n)] for i, n in
                  enumerate((2, 2, 1, 9, 1))]  # fmt: skip
        jobs = [asyncio.ensure_future(owner.write(Storing(g))) for g in groups]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(*jobs)
        assert commits == [2, 1, 1, 1]
        assert owner.n_rnas == 15


async def test_of_a_collection_that_closes_everybody_is_told(
    tmp_path: Path, dictionary: Dictionary, random_codes: RandomCodes
) -> None:
    Collection.create(tmp_path, Facts.of("c", dictionary, SearchMeasure()))
    owner = Owner(tmp_path, RelativesOptions())
    await owner.load(dictionary)
    go_on = await busy(owner)
    closing = asyncio.ensure_future(owner.close())
    await asyncio.sleep(0)
    storing = Storing([encoded("a", random_codes(2))])
    jobs = [asyncio.ensure_future(owner.write(storing)) for _ in range(3)]
    await asyncio.sleep(0)
    go_on.set()
    found: Sequence[Any] = await asyncio.gather(*jobs, return_exceptions=True)
    await closing
    assert all(isinstance(one, CollectionNotFoundError) for one in found)
    with pytest.raises(CollectionNotFoundError):
        await owner.write(storing)

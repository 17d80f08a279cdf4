"""A watch trains when the corpus grew enough, or on request; failures do not end it."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.trainer.process.conftest import World
from tests.valkey import running_valkey

from ribolex.registry import open_requests
from ribolex.rna import Rna, write_rnas
from ribolex.trainer.process import Event, Trainer, watch
from ribolex.trainer.stopping import Stopped

DrawRnas = Callable[..., list[Rna]]
LONGEST_S = 50


class Watched:
    """A watch in a thread of its own, whose events come in a queue."""

    def __init__(self, trainer: Trainer, world: World) -> None:
        self._told: queue.Queue[Event] = queue.Queue()
        self._stop, take = world.stop, world.log.take
        self.error: BaseException | None = None

        def told(event: Event) -> None:
            take(event)
            self._told.put(event)

        world.log.take = told  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._run, args=[trainer])
        self._thread.start()

    def until(self, kind: str) -> Event:
        """The next event of a kind."""
        deadline = time.monotonic() + LONGEST_S
        while True:
            event = self._told.get(timeout=deadline - time.monotonic())
            if event.kind == kind:
                return event

    def end(self) -> None:
        self._stop.ask()
        self._thread.join(LONGEST_S)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    def _run(self, trainer: Trainer) -> None:
        try:
            watch(trainer)
        except Stopped:
            pass
        except BaseException as error:
            self.error = error


@pytest.fixture
def small(world: World) -> World:
    """Gives a world whose watch is quick to look."""
    world.fields["dictionary"][0].update(name="one", layers=[1])
    world.fields["watch"] = {"look_s": 0.05, "settle_s": 0.1, "min_growth": 0.2}
    return world


@contextmanager
def watched(world: World) -> Iterator[Watched]:
    world.stop.is_asked = False
    found = Watched(world.trainer(), world)
    try:
        yield found
    finally:
        found.end()


def add(world: World, name: str, rnas: list[Rna]) -> None:
    write_rnas(world.root / "rnas" / f"{name}.tsv.gz", rnas)


def test_it_trains_at_first_and_as_the_corpus_grows(
    small: World, draw_rnas: DrawRnas
) -> None:
    with watched(small) as found:
        assert found.until("published").fields["ref"] == "one@1"
        found.until("waiting")
        add(small, "few", draw_rnas(5, seed=5, n_families=30))
        assert "too few" in str(found.until("changed").fields["reason"])
        add(small, "many", draw_rnas(120, seed=6, n_families=30))
        assert "too few" not in str(found.until("changed").fields["reason"])
        assert found.until("published").fields["ref"] == "one@2"
        found.until("waiting")
    # A process that begins anew has nothing to do, and finds what changed meanwhile.
    with watched(small) as found:
        found.until("waiting")
        assert small.log.kinds() == ["waiting"]
    add(small, "more", draw_rnas(240, seed=7, n_families=30))
    with watched(small) as found:
        assert found.until("published").fields["ref"] == "one@3"


@pytest.mark.parametrize("kind", ["folder", "redis"])
def test_a_request_asks_for_a_run(
    small: World, draw_rnas: DrawRnas, kind: str, tmp_path: Path
) -> None:
    with _registry(kind, small, tmp_path) as registry:
        small.fields["registry"] = registry
        requests = open_requests(registry)
        with watched(small) as found:
            found.until("published")
            found.until("waiting")
            add(small, "few", draw_rnas(5, seed=5, n_families=30))
            found.until("changed")
            theirs = requests.ask("another")
            requests.ask("one")
            assert found.until("requested").dictionary == "one"
            assert found.until("published").fields["ref"] == "one@2"
            requests.ask("one")
            found.until("requested")
            assert found.until("unchanged").fields["ref"] == "one@2"
            found.until("waiting")
        assert list(requests.wait({"one", "another"}, 0)) == [theirs]


def test_a_folder_with_nothing_in_it_yet_is_no_failure(
    small: World, draw_rnas: DrawRnas
) -> None:
    (small.root / "rnas" / "first.tsv.gz").unlink()
    with watched(small) as found:
        found.until("waiting")
        add(small, "many", draw_rnas(120, seed=6, n_families=30))
        assert found.until("published").fields["ref"] == "one@1"
    assert "failed" not in small.log.kinds()


def test_a_failure_is_told_and_the_watch_goes_on(
    small: World, draw_rnas: DrawRnas
) -> None:
    file = small.root / "rnas" / "broken.tsv.gz"
    file.write_bytes(b"no table")
    with watched(small) as found:
        assert "broken.tsv.gz" in str(found.until("failed").fields["error"])
        found.until("waiting")
        file.unlink()
        assert found.until("published").fields["ref"] == "one@1"
        file.write_bytes(b"no table")
        assert "broken.tsv.gz" in str(found.until("failed").fields["error"])
        file.unlink()
        add(small, "many", draw_rnas(120, seed=6, n_families=30))
        assert found.until("published").fields["ref"] == "one@2"


def test_a_registry_that_was_away_is_tried_again(
    small: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.fields["watch"]["retry_s"] = 0.2
    trainer = small.trainer()
    publish: Any = trainer.registry.publish
    fails = iter([True, False])

    def flaky(staged: Path) -> str:
        if next(fails):
            raise OSError("no route to registry")
        found: str = publish(staged)
        return found

    monkeypatch.setattr(trainer.registry, "publish", flaky)
    found = Watched(trainer, small)
    try:
        assert "no route" in str(found.until("failed").fields["error"])
        assert found.until("published").fields["ref"] == "one@1"
    finally:
        found.end()


def test_a_run_that_was_killed_goes_on_first(small: World) -> None:
    with watched(small) as found:
        found.until("stage")
    assert "published" not in small.log.kinds()
    with watched(small) as found:
        assert found.until("published").fields["ref"] == "one@1"


@contextmanager
def _registry(kind: str, world: World, tmp_path: Path) -> Iterator[str]:
    if kind == "folder":
        yield str(world.fields["registry"])
        return
    with running_valkey() as valkey:
        yield f"{valkey.url}?artefacts={tmp_path}/artefacts"

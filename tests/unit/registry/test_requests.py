"""Requests outlive who leaves them, and stay until they are dealt with."""

import threading
import time
from pathlib import Path

import pytest
from redis import Redis
from tests.valkey import Valkey

from ribolex.errors import InvalidRequestError, NotReadyError
from ribolex.registry import Requests, open_registry, open_requests
from ribolex.registry.requests import FOLDER, STREAM


@pytest.fixture(params=["folder", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "root")
    valkey: Valkey = request.getfixturevalue("valkey")
    return f"{valkey.url}?artefacts={tmp_path}/root"


@pytest.fixture
def requests(where: str) -> Requests:
    return open_requests(where)


def test_requests_come_in_order_until_they_are_settled(
    requests: Requests, where: str
) -> None:
    assert requests.wait({"one"}, 0) == []
    asked = [requests.ask("one"), requests.ask("one")]
    # Another process, later.
    again = open_requests(where)
    assert again.wait({"one"}, 0) == asked
    again.settle(asked[0])
    again.settle(asked[0])
    assert requests.wait({"one"}, 0) == asked[1:]


def test_requests_for_others_stay_for_others(requests: Requests) -> None:
    asked = requests.ask("theirs")
    assert requests.wait({"mine"}, 0.2) == []
    assert requests.wait({"theirs", "mine"}, 0) == [asked]


def test_who_waits_is_woken(requests: Requests) -> None:
    other = requests.ask("theirs")

    def ask() -> None:
        time.sleep(0.2)
        requests.ask("mine")

    thread = threading.Thread(target=ask)
    thread.start()
    found = requests.wait({"mine"}, 30)
    thread.join()
    assert [each.name for each in found] == ["mine"]
    assert other not in found


def test_what_is_no_name_is_refused(requests: Requests) -> None:
    with pytest.raises(InvalidRequestError, match="no dictionary name"):
        requests.ask("../other")


def test_a_registry_takes_requests_for_no_dictionary(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    open_requests(root).ask("one")
    registry = open_registry(root)
    assert list(registry.list()) == []
    assert list(registry.events(None, 0)) == []
    assert list(registry.reconcile()) == []


def test_what_is_no_request_is_left_alone(tmp_path: Path) -> None:
    requests = open_requests(str(tmp_path))
    asked = requests.ask("one")
    for name, content in {"a": b"{", "b": b"[]", "c": b'{"name": 1}'}.items():
        (tmp_path / FOLDER / f"{name}.json").write_bytes(content)
    assert requests.wait({"one"}, 0) == [asked]


def test_foreign_entries_of_the_stream_are_left_alone(
    valkey: Valkey, tmp_path: Path
) -> None:
    with Redis.from_url(valkey.url) as redis:
        redis.xadd(STREAM, {"something": "else"})
        redis.xadd(STREAM, {"name": "one", "time_s": "never"})
    requests = open_requests(valkey.url)
    asked = requests.ask("one")
    assert requests.wait({"one"}, 0) == [asked]


def test_a_redis_that_is_away_is_said_to_be() -> None:
    with pytest.raises(NotReadyError):
        open_requests("redis://127.0.0.1:1/0").ask("one")


@pytest.mark.parametrize("text", ["bundled", "https://x/y"])
def test_where_no_request_can_be_kept_none_is_taken(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="registry"):
        open_requests(text)

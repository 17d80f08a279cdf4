"""Pulling against a real HTTP server: resumed, verified, whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
import torch
from tests.unit.models.conftest import (
    COMMIT,
    MULTIMOLECULE,
    NAME,
    OFFICIAL,
    Publisher,
    left_in,
)

from ribolex.errors import (
    CorruptArtefactError,
    CorruptInputError,
    DownloadError,
    ModelNotFoundError,
)
from ribolex.lm import LmConfig, hub, load_lm, load_network
from ribolex.lm.weights import digest_network
from ribolex.models.pull import Pulled, check_damage, pull

ROOT = Path(__file__).parents[3]
SIZE = OFFICIAL.stat().st_size
DIGEST = digest_network(load_network(OFFICIAL))


class Waits:
    """Stands for time.sleep and notes how long it was to wait."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def __call__(self, wait_s: float) -> None:
        self.waited.append(wait_s)


def fetched(
    source: str | None = None, *, sha256: str | None = None, mirror: str | None = None
) -> Pulled:
    return pull(NAME, source, sha256=sha256, mirror=mirror, sleep=Waits())


@pytest.mark.parametrize(
    ("source", "file", "layout", "algorithms"),
    [
        ("official", OFFICIAL, "reference", ["md5"]),
        ("multimolecule", MULTIMOLECULE, "multimolecule", ["sha256"]),
    ],
)
@pytest.mark.usefixtures("publisher")
def test_a_pulled_model_is_whole_verified_and_named(
    cache: Path, source: str, file: Path, layout: str, algorithms: list[str]
) -> None:
    origin = fetched(source).origin
    place = cache / "models" / NAME
    assert (place / origin.file).read_bytes() == file.read_bytes()
    assert (origin.source, origin.layout, origin.weights_digest) == (
        source, layout, DIGEST,
    )  # fmt: skip
    assert origin.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert [check.algorithm for check in origin.verified] == algorithms
    assert left_in(cache) == sorted(["config.json", "origin.json", origin.file])
    lm = load_lm(NAME)
    assert (lm.name, lm.digest, lm.config.n_heads) == (NAME, DIGEST, 20)
    assert digest_network(load_network(NAME)) == DIGEST
    assert hub.read_origin(NAME) == origin


def test_the_hub_is_asked_for_the_revision_that_it_described(
    cache: Path, publisher: Publisher
) -> None:
    origin = fetched("multimolecule").origin
    assert origin.revision == COMMIT
    assert origin.url.startswith(f"{publisher.url}/multimolecule/{NAME}/resolve/")


@pytest.mark.parametrize("source", ["official", "multimolecule"])
@pytest.mark.usefixtures("cache")
def test_a_dropped_connection_is_taken_up_where_it_broke(
    publisher: Publisher, source: str
) -> None:
    publisher.faults = ["drop", "drop"]
    waits, seen = Waits(), list[int]()
    done = pull(NAME, source, sleep=waits, on_progress=lambda n, _: seen.append(n))
    size = done.origin.size_bytes
    second = size // 2 + (size - size // 2) // 2
    expected = [None, f"bytes={size // 2}-", f"bytes={second}-"]
    assert [asked.range for asked in publisher.asked] == expected
    assert {asked.if_range for asked in publisher.asked[1:]} == {publisher.etag}
    assert seen == sorted(seen)
    assert seen[-1] == size
    assert waits.waited == [1.0, 1.0]


@pytest.mark.usefixtures("cache")
def test_a_host_that_knows_no_ranges_is_read_anew(publisher: Publisher) -> None:
    publisher.faults = ["drop", "no range"]
    assert fetched().origin.weights_digest == DIGEST
    assert [asked.range for asked in publisher.asked] == [None, f"bytes={SIZE // 2}-"]


def test_a_file_replaced_between_two_attempts_is_read_anew(
    cache: Path, publisher: Publisher
) -> None:
    publisher.faults = ["drop"]
    old = publisher.official

    def replace_file(wait_s: float) -> None:
        publisher.etag = '"two"'

    assert pull(NAME, sleep=replace_file).origin.size_bytes == len(old)
    assert [asked.if_range for asked in publisher.asked] == [None, '"one"']
    assert load_lm(NAME).digest == DIGEST


def test_a_part_of_another_publication_is_not_built_upon(
    cache: Path, publisher: Publisher, tmp_path: Path
) -> None:
    publisher.faults = ["drop"] + ["503"] * 9
    with pytest.raises(DownloadError, match="bytes are kept"):
        fetched()
    state = torch.load(OFFICIAL, weights_only=True)
    state["embedding.weight"] += 1
    torch.save(state, tmp_path / "new.pt")
    publisher.official, publisher.faults = (tmp_path / "new.pt").read_bytes(), []
    publisher.asked.clear()
    assert fetched().origin.weights_digest != DIGEST
    assert [asked.range for asked in publisher.asked] == [None]


@pytest.mark.usefixtures("cache")
def test_passing_errors_of_the_host_are_waited_out(publisher: Publisher) -> None:
    publisher.meta_faults, publisher.faults = [500, 429], ["503", "502"]
    waits = Waits()
    assert pull(NAME, sleep=waits).origin.weights_digest == DIGEST
    assert waits.waited == [1.0, 2.0, 1.0, 2.0]


@pytest.mark.usefixtures("cache")
def test_a_host_is_left_alone_for_as_long_as_it_asks(publisher: Publisher) -> None:
    publisher.meta_faults, publisher.faults = [429], ["503"]
    publisher.retry_after = "7"
    waits = Waits()
    assert pull(NAME, sleep=waits).origin.weights_digest == DIGEST
    assert waits.waited == [7.0, 7.0]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("header", ["soon", "-1", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_wait_that_says_nothing_is_ours(publisher: Publisher, header: str) -> None:
    publisher.meta_faults, publisher.retry_after = [503], header
    waits = Waits()
    pull(NAME, sleep=waits)
    assert waits.waited == [1.0]


@pytest.mark.usefixtures("cache")
def test_a_date_to_come_back_at_is_waited_for(publisher: Publisher) -> None:
    publisher.meta_faults = [503]
    publisher.retry_after = formatdate(time.time() + 60, usegmt=True)
    waits = Waits()
    pull(NAME, sleep=waits)
    assert 50 < waits.waited[0] <= 60


@pytest.mark.parametrize("source", ["official", "multimolecule"])
@pytest.mark.usefixtures("cache")
def test_a_host_that_asks_for_an_hour_is_given_up_at_once(
    publisher: Publisher, source: str
) -> None:
    publisher.meta_faults, publisher.retry_after = [429], "3600"
    waits = Waits()
    with pytest.raises(DownloadError, match="429.*come back in 60 minutes"):
        pull(NAME, source, sleep=waits)
    assert waits.waited == []


def test_a_host_that_stays_broken_is_given_up_and_the_part_kept(
    cache: Path, publisher: Publisher
) -> None:
    publisher.faults = ["drop"] + ["500"] * 9
    with pytest.raises(DownloadError, match="500.*gave up after 5") as caught:
        fetched()
    assert f"{SIZE // 2:,} bytes are kept" in str(caught.value)
    publisher.faults = []
    assert fetched().origin.weights_digest == DIGEST
    assert publisher.asked[-1].range == f"bytes={SIZE // 2}-"


@pytest.mark.parametrize("source", ["official", "multimolecule"])
def test_a_wrong_byte_is_found_told_and_removed(
    cache: Path, publisher: Publisher, source: str
) -> None:
    publisher.faults = ["wrong byte"]
    with pytest.raises(DownloadError) as caught:
        fetched(source)
    content = publisher.official if source == "official" else publisher.multimolecule
    wrong = content[:-1] + bytes([content[-1] ^ 1])
    algorithm = "md5" if source == "official" else "sha256"
    got, expected = (hashlib.new(algorithm, x).hexdigest() for x in (wrong, content))
    assert f"{algorithm} is {got}, expected {expected}" in str(caught.value)
    assert left_in(cache) == []
    assert fetched(source).origin.weights_digest == DIGEST


def test_a_file_that_is_missing_at_the_host_says_what_to_do(
    cache: Path, publisher: Publisher
) -> None:
    publisher.faults = ["404"]
    with pytest.raises(DownloadError, match="answers 404.*try another --source"):
        fetched()
    publisher.meta_faults = [404]
    with pytest.raises(DownloadError, match=r"answers 404.*--from FILE"):
        fetched("multimolecule")
    assert left_in(cache) == []


@pytest.mark.usefixtures("cache")
def test_a_record_without_the_file_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    model = hub.CATALOGUE[NAME]
    other = replace(model.sources[0], file="gone.pt")
    monkeypatch.setitem(hub.CATALOGUE, NAME, model._replace(sources=(other,)))
    with pytest.raises(DownloadError, match=r"15043668 has no file gone\.pt"):
        fetched()


@pytest.mark.parametrize("fault", ["endless", "short"])
def test_other_sizes_than_stated_are_not_taken(
    cache: Path, publisher: Publisher, fault: str
) -> None:
    publisher.faults = [fault]
    with pytest.raises(DownloadError, match=f"but states {SIZE:,}"):
        fetched()


@pytest.mark.parametrize("source", ["official", "multimolecule"])
def test_a_machine_that_is_offline_is_told_at_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{closed.getsockname()[1]}"
        waits = Waits()
        with pytest.raises(DownloadError) as caught:
            pull(NAME, source, mirror=away, sleep=waits)
    assert caught.value.url.startswith(away)
    for part in ("cannot be reached", "offline", "HTTPS_PROXY", "--from FILE"):
        assert part in str(caught.value)
    assert waits.waited == []


@pytest.mark.usefixtures("cache")
def test_a_proxy_of_the_environment_is_used(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", publisher.url)
    monkeypatch.delenv("no_proxy")
    with pytest.raises(DownloadError, match="answers 404"):
        # The publisher as a proxy is asked for a whole address, which it has not.
        pull(NAME, mirror="http://weights.invalid", sleep=Waits())


@pytest.mark.parametrize("mirror", ["ftp://a.b", "weights.example", "file:///etc"])
@pytest.mark.usefixtures("cache")
def test_only_http_is_spoken(mirror: str) -> None:
    with pytest.raises(DownloadError, match="begins with https://"):
        fetched(mirror=mirror)


def test_a_full_disk_is_told_before_the_download(
    cache: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(ROOT)._replace(free=10_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match="10,000 are free.*make room") as caught:
        fetched()
    assert "RIBOLEX_MODELS" in str(caught.value)
    assert left_in(cache) == []


def test_a_disk_that_fills_up_midway_is_no_broken_connection(
    cache: Path, publisher: Publisher
) -> None:
    staging = cache / "partial" / f"{NAME}.official"
    staging.mkdir(parents=True)
    note = {
        "url": f"{publisher.url}/records/15043668/files/{OFFICIAL.name}",
        "checks": [["md5", publisher.md5]],
        "etag": "",
    }
    (staging / f"{OFFICIAL.name}.part.json").write_text(json.dumps(note))

    def fill(done: int, total: int | None) -> None:
        part = staging / f"{OFFICIAL.name}.part"
        if not part.exists():
            part.symlink_to("/dev/full")

    waits = Waits()
    with pytest.raises(DownloadError, match=os.strerror(errno.ENOSPC)) as caught:
        pull(NAME, sleep=waits, on_progress=fill)
    assert "make room" in str(caught.value)
    assert waits.waited == []


def test_a_checksum_of_the_catalogue_or_the_caller_is_held_against_the_host(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DownloadError, match=r"expected 0{64} \(by --sha256\)"):
        fetched(sha256="0" * 64)
    model = hub.CATALOGUE[NAME]
    pinned = replace(model.sources[0], sha256="1" * 64)
    monkeypatch.setitem(hub.CATALOGUE, NAME, model._replace(sources=(pinned,)))
    with pytest.raises(DownloadError, match=r"expected 1{64} \(by Ribolex\)"):
        fetched()
    assert left_in(cache) == []
    own = hashlib.sha256(OFFICIAL.read_bytes()).hexdigest()
    assert [check.stated_by for check in fetched(sha256=own).origin.verified][0] == (
        "--sha256"
    )


@pytest.mark.usefixtures("cache")
def test_what_is_there_undamaged_is_not_fetched_again(publisher: Publisher) -> None:
    first = fetched()
    assert fetched() == Pulled(first.origin, False)
    assert len(publisher.asked) == 1


def test_damage_in_the_cache_is_found_and_mended(
    cache: Path, publisher: Publisher
) -> None:
    origin = fetched().origin
    file = cache / "models" / NAME / origin.file
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptArtefactError, match=f"damaged.*models pull {NAME}"):
        check_damage(origin)
    assert fetched().is_new
    check_damage(origin)
    assert left_in(cache) == sorted(["config.json", "origin.json", origin.file])


def test_another_source_takes_the_place_of_the_first(cache: Path) -> None:
    fetched("official")
    assert fetched("multimolecule").is_new
    assert left_in(cache) == ["config.json", "model.safetensors", "origin.json"]
    assert load_lm(NAME).digest == DIGEST


def test_an_unreadable_note_in_the_cache_is_told(cache: Path) -> None:
    fetched()
    (cache / "models" / NAME / "origin.json").write_text("{}")
    with pytest.raises(CorruptArtefactError, match="pull rinalmo-golden again"):
        load_lm(NAME)
    assert fetched().is_new


def test_a_published_file_of_another_size_is_refused(
    cache: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = hub.CATALOGUE[NAME]
    wide = model._replace(config=LmConfig.of_width(80, 4, 20))
    monkeypatch.setitem(hub.CATALOGUE, NAME, wide)
    with pytest.raises(CorruptInputError, match="3 layers of 80, expected 4 of 80"):
        fetched()
    assert left_in(cache) == []


def test_two_pulls_at_once_take_turns(cache: Path, publisher: Publisher) -> None:
    publisher.chunk_s = 0.02
    done: list[Pulled] = []
    waited: list[str] = []

    def one() -> None:
        done.append(pull(NAME, on_wait=lambda: waited.append("x")))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(pulled.is_new for pulled in done) == [False, False, True]
    assert len(waited) == 2
    assert len(publisher.asked) == 1


DRIVER = f"""
from ribolex.lm import hub
from tests.unit.models.conftest import golden_model
from ribolex.models.pull import pull
hub.CATALOGUE[{NAME!r}] = golden_model()
print(pull({NAME!r}).origin.weights_digest)
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_pull_killed_midway_is_taken_up_by_the_next(
    cache: Path, publisher: Publisher
) -> None:
    publisher.chunk_s = 0.2
    with subprocess.Popen([sys.executable, "-c", DRIVER], cwd=ROOT) as killed:
        part = cache / "partial" / f"{NAME}.official" / f"{OFFICIAL.name}.part"
        deadline = time.monotonic() + 120
        while not part.exists() or part.stat().st_size < SIZE // 4:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
    arrived = part.stat().st_size
    assert 0 < arrived < SIZE
    assert not (cache / "models").exists()
    with pytest.raises(ModelNotFoundError, match="not on this machine yet"):
        load_lm(NAME)
    publisher.chunk_s = 0.0
    assert fetched().origin.weights_digest == DIGEST
    assert [asked.range for asked in publisher.asked] == [None, f"bytes={arrived}-"]

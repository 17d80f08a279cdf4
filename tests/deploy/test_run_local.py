"""deploy/run-local.sh from end to end: trained, published, swapped, searched, told."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.compose import free_ports, services
from tests.valkey import server_path

import ribolex_bundle
from ribolex.client import Client
from ribolex.client.tables import read_rnas

ROOT = Path(__file__).resolve().parents[2]
SERVED = "ribolex-mini-l6"
LONGEST_S = 600
"""Of one step, on a machine that is very busy; a quiet one takes a minute for all."""
TRAINER = f"""
workdir = "/training"
threads = 1
[corpus]
inputs = ["/corpus/*"]
[evaluation]
probe_nucleotides = 300
loss_nucleotides = 300
[[dictionary]]
name = "{SERVED}"
layer = 2
features = 256
k = 16
tokens = 10_000
[gates]
fvu = false
dead_fraction = false
dense_fraction = false
cap_cut = false
loss_recovered = false
panel_differing = false
[watch]
look_s = 0.2
settle_s = 0.2
[metrics]
host = "0.0.0.0"
port = 9470
"""


@dataclass(frozen=True)
class Local:
    """All of it, running."""

    folder: Path
    ports: dict[str, int]
    said: str

    def scrape(self, of: str) -> str:
        url = f"http://127.0.0.1:{self.ports[of]}/metrics"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return str(answer.read().decode())

    def ask_prometheus(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/{path}"
        text = urllib.parse.urlencode(query)
        with urllib.request.urlopen(f"{url}?{text}", timeout=60) as answer:
            return json.load(answer)["data"]

    def value(self, expression: str) -> float:
        """What Prometheus gives for an expression; -1 for nothing."""
        found = self.ask_prometheus("query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else -1.0


def until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not is_so():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.2)


@pytest.fixture
def local() -> Iterator[Local]:
    server_path()  # skips where there is no Valkey
    ports = free_ports(["server", "http", "trainer", "prometheus"])
    # Paths of sockets are short, those of pytest are not.
    with tempfile.TemporaryDirectory(prefix="local-") as name:
        folder = Path(name)
        (folder / "small.toml").write_text(TRAINER)
        process = subprocess.Popen(
            [ROOT / "deploy" / "run-local.sh", folder / "all"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "RIBOLEX_BIN": str(Path(sys.executable).parent),
                "RIBOLEX_THREADS": "1",
                "RIBOLEX_TRAINER": str(folder / "small.toml"),
                "RIBOLEX_PORT": str(ports["server"]),
                "RIBOLEX_HTTP_PORT": str(ports["http"]),
                "RIBOLEX_TRAINER_PORT": str(ports["trainer"]),
                "RIBOLEX_PROMETHEUS_PORT": str(ports["prometheus"]),
            },
        )
        assert process.stdout is not None
        said = ""
        try:
            for line in process.stdout:
                said += line
                if line.startswith("Everything is up"):
                    break
            else:
                pytest.fail(f"it ended: {said}")
            yield Local(folder / "all", ports, said)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=LONGEST_S)
            process.stdout.close()
        assert code == 0


def write_fasta(path: Path, n_rnas: int) -> list[str]:
    rnas = list(islice(read_rnas(ribolex_bundle.sample_path()), 0, 40 * n_rnas, 40))
    path.write_text("".join(f">{rna.name}\n{rna.sequence}\n" for rna in rnas))
    return [rna.sequence for rna in rnas]


@pytest.mark.slow
@pytest.mark.timeout(3 * LONGEST_S)
def test_trained_published_swapped_searched_and_told(local: Local) -> None:
    with Client(f"127.0.0.1:{local.ports['server']}", timeout_s=60) as client:
        before = client.encode(["GGGAAACCC"])
        assert (before.dictionary.name, before.dictionary.version) == (SERVED, 1)

        sequences = write_fasta(local.folder / "corpus" / "mine.fa", 60)
        published = f'ribolex_trainer_published_total{{dictionary="{SERVED}"}} 1.0'
        until(lambda: published in local.scrape("trainer"), "published")
        until(
            lambda: client.encode(["GGGAAACCC"]).dictionary.version == 2, "swapped live"
        )

        rnas = list(islice(read_rnas(local.folder / "corpus" / "mine.fa"), 20))
        client.create_collection("mine")
        assert client.upsert("mine", rnas).n_inserted == 20
        hits = client.search("mine", sequence=sequences[3], top_k=3)
        assert hits[0].rna.name == rnas[3].name
    assert re.search(
        r"ribolex_dictionary_swap_seconds_count 1\.0", local.scrape("http")
    )

    if shutil.which("prometheus") is None:
        pytest.skip("all but Prometheus was tested; Debian: apt-get install prometheus")
    until(lambda: local.value("ribolex_dictionary_swap_seconds_count") == 1, "scraped")
    info = f'ribolex_dictionary_info{{name="{SERVED}",version="2",state="serving"}}'
    until(lambda: local.value(info) == 1, "scraped")
    words = services()["prometheus"]["healthcheck"]["test"][1:]
    if shutil.which(words[0]) is not None:
        words[-1] = words[-1].replace(":9090/", f":{local.ports['prometheus']}/")
        assert subprocess.run(words, check=False).returncode == 0
    # The trainer is scraped at other times than the server.
    counted = f'ribolex_trainer_published_total{{dictionary="{SERVED}"}}'
    until(lambda: local.value(counted) == 1, "scraped of the trainer")
    # How full the disk is here is not what this is about.
    assert local.value('count(ALERTS{alertname!~".*DiskNearlyFull"})') == -1

    redis = re.search(r"^redis .*\(process (\d+)\)", local.said, re.MULTILINE)
    assert redis is not None
    os.kill(int(redis[1]), signal.SIGKILL)

    def states() -> dict[str, str]:
        groups = local.ask_prometheus("rules", type="alert")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert all(rule["health"] != "err" for rule in rules)
        return {rule["name"]: rule["state"] for rule in rules}

    until(lambda: states()["RibolexRegistryAway"] == "pending", "told that it is away")
    with Client(f"127.0.0.1:{local.ports['server']}", timeout_s=60) as client:
        assert client.encode(["GGGAAACCC"]).dictionary.version == 2


def test_a_server_that_ends_by_itself_is_not_waited_for() -> None:
    with tempfile.TemporaryDirectory(prefix="local-") as name:
        programs = Path(name) / "bin"
        programs.mkdir()
        for program, text in {
            "ribolex": """case $1 in
                serve) echo no such setting >&2; exit 1;;
                trainer) exec sleep 600;;
            esac""",
            "valkey-server": f'exec {server_path()} "$@"',
            "prometheus": "exec sleep 600",
        }.items():
            (programs / program).write_text(f"#!/bin/sh\n{text}\n")
            (programs / program).chmod(0o755)
        done = subprocess.run(
            [ROOT / "deploy" / "run-local.sh", Path(name) / "all"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={
                **os.environ,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "RIBOLEX_BIN": str(programs),
            },
        )
        assert done.returncode == 1
        assert f"{name}/all/logs/server:\nno such setting\n" in done.stdout

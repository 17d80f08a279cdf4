"""docker-compose.yml: valid, careful, and every setting in it a real one."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from tests.deploy.compose import (
    COMPOSE,
    OURS,
    ROOT,
    SCALE,
    TLS,
    composed,
    defaults,
    environment,
    read_yaml,
    run_compose,
    services,
)

from ribolex.server.settings import ServerSettings
from ribolex.trainer.process import read_config

FIELDS = {f"RIBOLEX_{name.upper()}": field for name, field in
          ServerSettings.model_fields.items()}  # fmt: skip
ALONE = {"seed"}
OF_CLIENTS = {"RIBOLEX_CA", "RIBOLEX_SERVER"}
OF_THE_IMAGE = dict.fromkeys(OURS, "10001:10001") | {
    "etcd": "root",
    "minio": "root",
    "milvus": "root",
}
"""Users of those that are told none: of deploy/Dockerfile, and of others' images."""
ROOTS = {"etcd", "minio", "milvus"}
"""In the network `store`: nobody else can write to their volumes."""
OF_COMPOSE = {"COMPOSE_FILE": "docker-compose.yml", "COMPOSE_PROFILES": ""}
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


@pytest.mark.parametrize("path", [COMPOSE, SCALE, TLS], ids=lambda path: path.name)
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
    expected = {n for n, s in services().items() if not s.get("profiles")}
    expected |= {n for n, s in services().items() if profile in s.get("profiles", [])}
    assert set(composed(profile)) == expected


def test_the_example_says_what_is_so_without_it() -> None:
    told = run_compose("--env-file", ".env.example", "config")
    assert told.returncode == 0, told.stderr
    assert told.stdout == run_compose("config").stdout


def test_one_service_builds_an_image_and_what_shares_it_waits() -> None:
    built: dict[str, list[str]] = {}
    for name, service in services().items():
        if "build" in service:
            built.setdefault(service["image"], []).append(name)
    assert [names for names in built.values() if len(names) > 1] == []
    for service in services().values():
        if service["image"].startswith("ribolex-") and "build" not in service:
            (builder,) = built[service["image"]]
            assert builder in service["depends_on"]
            assert service["pull_policy"] == "never"


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
    user = service.get("user", OF_THE_IMAGE.get(name))
    assert user is not None, "its image's user is not known"
    assert (user.split(":")[0] in ("root", "0")) is (name in ROOTS)


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
    read = defaults(SCALE) | defaults(COMPOSE) | defaults(TLS)
    passed_on = {
        key
        for service in services().values()
        for key, value in service.get("environment", {}).items()
        if value is None
    }
    assert env_example() == read | dict.fromkeys(passed_on) | OF_COMPOSE


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


@pytest.mark.parametrize("profiles", ["", "gpu", "scale"])
def test_no_server_is_without_tls_and_tokens_in_a_network(profiles: str) -> None:
    more = (SCALE, TLS) if profiles == "scale" else (TLS,)
    whole = composed(profiles, *more)
    servers = {n for n, s in whole.items() if s["image"].startswith("ribolex-server")}
    servers -= ALONE
    assert "server" in servers
    assert ("server-2" in servers) is (profiles == "scale")
    for name in servers:
        told = whole[name]["environment"]
        assert set(told) <= set(FIELDS) | OF_CLIENTS
        fields = {k.removeprefix("RIBOLEX_").lower(): v for k, v in told.items()
                  if k in FIELDS and v is not None}  # fmt: skip
        settings = ServerSettings(**fields)
        assert settings.tls_cert
        assert settings.tls_key
        assert settings.tokens
        assert not settings.public_without_tls
    far = {
        name
        for name, service in whole.items()
        if any(port["host_ip"] != "127.0.0.1" for port in service.get("ports", []))
    }
    assert far <= servers | {"envoy"}
    if profiles == "scale":
        assert "/etc/envoy/envoy-tls.yaml" in whole["envoy"]["command"]
    assert any("prometheus-tls" in word for word in whole["prometheus"]["command"])


def test_what_is_exchanged_while_it_runs_lies_in_folders() -> None:
    # A file that is mounted by itself stays the one that it was.
    for service in composed("scale", SCALE, TLS).values():
        folders = {
            Path(volume["target"])
            for volume in service.get("volumes", [])
            if volume["type"] == "bind" and (ROOT / volume["source"]).is_dir()
        }
        for name, value in service.get("environment", {}).items():
            if name in ("RIBOLEX_TLS_CERT", "RIBOLEX_TLS_KEY", "RIBOLEX_TOKENS"):
                assert Path(value).parent in folders


def test_servers_of_profile_scale_use_its_cache_and_its_milvus() -> None:
    whole = composed("scale", SCALE)
    reached = set(whole["server"]["networks"])
    for name, keys in {"server": ("CACHE", "MILVUS"), "server-2": ("CACHE",)}.items():
        told = whole[name]["environment"]
        fields = {key.lower(): told[f"RIBOLEX_{key}"] for key in keys}
        assert ServerSettings(**fields)
        for url in fields.values():
            host = urlsplit(url).hostname
            assert reached & set(whole[host]["networks"])
            assert "scale" in whole[host]["profiles"]
    alone = run_compose("config", "-q", COMPOSE_FILE=f"{COMPOSE.name}:{SCALE}")
    assert "undefined service" in alone.stderr


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

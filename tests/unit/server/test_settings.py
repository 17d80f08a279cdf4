"""Settings that would let more people in than was said are refused."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ribolex.server.settings import ServerSettings

TLS: dict[str, Any] = {"tls_cert": Path("a"), "tls_key": Path("b")}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_needs_no_encryption(host: str) -> None:
    assert ServerSettings(host=host, http_port=0, http_host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "", "example.org", "*"])
def test_others_reach_it_only_encrypted_or_by_an_explicit_word(host: str) -> None:
    places: list[dict[str, Any]] = [{"host": host}, {"http_port": 0, "http_host": host}]
    for fields in places:
        with pytest.raises(ValidationError, match="--public-without-tls"):
            ServerSettings(**fields)
        ServerSettings(**fields, public_without_tls=True)
        ServerSettings(**fields, **TLS)


def test_what_is_no_address_of_a_milvus_is_refused() -> None:
    assert ServerSettings(milvus="http://h:1?token_file=t").milvus
    with pytest.raises(ValidationError, match="--milvus: expected http://HOST:PORT"):
        ServerSettings(milvus="redis://h:1")


@pytest.mark.parametrize("names", [["tls_cert"], ["tls_key"], ["tls_client_ca"]])
def test_half_a_certificate_is_refused(names: list[str]) -> None:
    fields: dict[str, Any] = {name: Path("x") for name in names}
    with pytest.raises(ValidationError, match="--tls-"):
        ServerSettings(**fields)


def test_it_listens_here_unless_told_otherwise() -> None:
    settings = ServerSettings()
    assert (settings.host, settings.http_host, settings.http_port) == (
        "127.0.0.1", "127.0.0.1", None,
    )  # fmt: skip


def test_a_variable_that_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MILVUS", "CACHE", "THREADS"):
        monkeypatch.setenv(f"RIBOLEX_{name}", "")
    settings = ServerSettings()
    assert (settings.milvus, settings.cache, settings.threads) == (None, None, 0)

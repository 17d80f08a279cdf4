"""Who gets in, over real sockets: certificates, tokens, limits."""

import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.authority import Authority
from tests.conftest import OwnServer
from tests.integration.conftest import connect, eventually, failure_of
from typer.testing import CliRunner

from ribolex.client import (
    Client,
    Credentials,
    NotAuthenticatedError,
    NotPermittedError,
    NotReadyError,
    OverloadedError,
)
from ribolex.client.cli import app
from ribolex.server import cli as server_cli
from ribolex.server import follow
from ribolex.server.tokens import Scope, add_token, revoke_token
from ribolex.v1 import encoder_pb2 as pb

HEALTH = health_pb2.HealthCheckRequest()
ENCODE = pb.EncodeRequest(sequences=["ACGU"])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


@pytest.fixture
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has files looked at often."""
    monkeypatch.setattr(follow, "EVERY_S", 0.02)


def local(address: str) -> str:
    """Gives the address under the name that certificates here are for."""
    return address.replace("127.0.0.1", "localhost")


def test_a_server_with_a_certificate_speaks_nothing_else(
    own_server: OwnServer, authority: Authority
) -> None:
    cert, key = authority.sign("server", "localhost")
    with own_server(tls_cert=cert, tls_key=key) as address:
        known = Credentials(tls_ca=authority.file)
        with Client(local(address), credentials=known) as client:
            assert client.encode(["ACGU"]).n_nucleotides.tolist() == [4]
        for wrong in (Credentials(), Credentials(tls=True)):
            with (
                Client(local(address), credentials=wrong, timeout_s=5) as client,
                pytest.raises(NotReadyError),
            ):
                client.encode(["ACGU"])


def test_a_caller_needs_a_certificate_where_one_is_asked_for(
    own_server: OwnServer, authority: Authority, tmp_path: Path
) -> None:
    pair = authority.sign("server", "localhost")
    good = authority.sign("ann", "ann")
    forged = Authority(tmp_path, "other").sign("forged", "ann")
    with own_server(
        tls_cert=pair.cert, tls_key=pair.key, tls_client_ca=authority.file
    ) as address:
        ca = authority.file
        mine = Credentials(tls_ca=ca, tls_cert=good.cert, tls_key=good.key)
        with Client(local(address), credentials=mine) as client:
            assert client.encode(["ACGU"]).n_nucleotides.tolist() == [4]
        for wrong in (
            Credentials(tls_ca=ca),
            Credentials(tls_ca=ca, tls_cert=forged.cert, tls_key=forged.key),
        ):
            with (
                Client(local(address), credentials=wrong, timeout_s=5) as client,
                pytest.raises(NotReadyError),
            ):
                client.encode(["ACGU"])


@pytest.mark.usefixtures("swift")
def test_a_new_certificate_is_taken_up_and_a_broken_one_is_not(
    own_server: OwnServer, authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.sign("server", "localhost")
    with own_server(tls_cert=cert, tls_key=key) as address:

        def is_trusted(by: Authority) -> bool:
            trusted = Credentials(tls_ca=by.file)
            with Client(local(address), credentials=trusted, timeout_s=5) as client:
                try:
                    client.encode(["ACGU"])
                except NotReadyError:
                    return False
                return True

        cert.write_text("broken")
        time.sleep(0.2)
        assert is_trusted(authority)
        other = Authority(tmp_path, "other")
        assert not is_trusted(other)
        other.sign("server", "localhost")
        eventually(lambda: is_trusted(other))
        assert not is_trusted(authority)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def secrets(tokens: Path) -> dict[Scope, str]:
    scopes: tuple[Scope, ...] = ("read", "write", "admin")
    return {scope: add_token(tokens, f"{scope}er", scope).secret for scope in scopes}


def test_a_token_reaches_as_far_as_its_scope(
    own_server: OwnServer, tokens: Path, secrets: dict[Scope, str]
) -> None:
    with own_server(tokens=tokens) as address:
        with Client(address) as client, pytest.raises(NotAuthenticatedError) as caught:
            client.encode(["ACGU"])
        assert 'expected "Bearer TOKEN"' in caught.value.message
        with Client(address, credentials=Credentials(secrets["read"])) as client:
            assert client.encode(["ACGU"]).n_nucleotides.tolist() == [4]
            assert next(client.encode_stream(["ACGU"])).n_nucleotides.tolist() == [4]
            assert client.embed(["ACGU"]).activations.shape == (4, 1, 32)
            with pytest.raises(NotPermittedError, match="'reader' has scope 'read'"):
                client.create_collection("mine")
        with Client(address, credentials=Credentials(secrets["write"])) as client:
            client.create_collection("mine")
        with connect(address).channel as channel:
            health_pb2_grpc.HealthStub(channel).Check(HEALTH)


def test_a_stranger_is_refused_before_a_large_message_is_read(
    own_server: OwnServer, tokens: Path, secrets: dict[Scope, str]
) -> None:
    with own_server(tokens=tokens) as address:
        stubs = connect(address)
        with pytest.raises(grpc.RpcError) as caught:
            stubs.encoder.Encode(pb.EncodeRequest(sequences=["A" * (2 << 20)]))
        assert failure_of(caught.value).code.name == "UNAUTHENTICATED"
        stubs.channel.close()


@pytest.mark.usefixtures("swift")
def test_a_revoked_token_and_a_new_one_need_no_restart(
    own_server: OwnServer, tokens: Path, secrets: dict[Scope, str]
) -> None:
    with own_server(tokens=tokens) as address:

        def is_in(secret: str) -> bool:
            with Client(address, credentials=Credentials(secret)) as client:
                try:
                    client.encode(["ACGU"])
                except NotAuthenticatedError:
                    return False
                return True

        assert is_in(secrets["read"])
        fresh = add_token(tokens, "fresh", "read").secret
        revoke_token(tokens, "reader")
        eventually(lambda: is_in(fresh))
        eventually(lambda: not is_in(secrets["read"]))
        tokens.write_text("damaged")
        time.sleep(0.2)
        assert is_in(fresh)


@pytest.mark.usefixtures("swift")
def test_a_token_is_revoked_where_its_folder_is_mounted(
    own_server: OwnServer, tokens: Path, secrets: dict[Scope, str], tmp_path: Path
) -> None:
    tokens.chmod(0o444)  # for the user of a container
    mounted = tmp_path / "run" / "tls"
    mounted.parent.mkdir()
    mounted.symlink_to(tokens.parent)
    known = Credentials(secrets["read"])
    with (
        own_server(tokens=mounted / tokens.name) as address,
        Client(address, credentials=known) as client,
    ):
        client.encode(["ACGU"])
        revoke_token(tokens, "reader")

        def is_refused() -> bool:
            try:
                client.encode(["ACGU"])
            except NotAuthenticatedError:
                return True
            return False

        eventually(is_refused)
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o444


def test_the_commands_make_list_use_and_revoke_tokens(
    own_server: OwnServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tokens.json"
    monkeypatch.setenv("RIBOLEX_TOKENS", str(file))
    runner = CliRunner()
    made = runner.invoke(server_cli.tokens, ["add", "ann"])
    secret = made.stdout.strip()
    listed = runner.invoke(server_cli.tokens, ["list"]).stdout
    assert listed.startswith("ann\tread\t")
    assert secret not in listed
    with own_server(tokens=file) as address:
        ask = ["dictionaries", "--server", address]
        assert "tiny" in runner.invoke(app, [*ask, "--token", secret]).stdout
        environment = {"RIBOLEX_TOKEN": secret}
        assert "tiny" in runner.invoke(app, ask, env=environment).stdout
        refused = runner.invoke(app, ask)
        assert isinstance(refused.exception, NotAuthenticatedError)
    assert runner.invoke(server_cli.tokens, ["revoke", "ann"]).exit_code == 0
    assert runner.invoke(server_cli.tokens, ["list"]).stdout == ""


def test_one_client_has_only_so_many_streams(
    own_server: OwnServer, tokens: Path, secrets: dict[Scope, str]
) -> None:
    hold = threading.Event()

    def endless() -> Iterator[pb.EncodeStreamRequest]:
        yield pb.EncodeStreamRequest(request=ENCODE)
        hold.wait(20)

    with own_server(tokens=tokens, max_client_calls=2) as address:
        stubs = connect(address)
        header = (("authorization", f"Bearer {secrets['read']}"),)
        streams = [
            stubs.encoder.EncodeStream(endless(), metadata=header) for _ in range(2)
        ]
        for stream in streams:
            next(stream)
        reader, writer = (Credentials(secrets[scope]) for scope in ("read", "write"))
        with (
            Client(address, credentials=reader) as client,
            pytest.raises(
                OverloadedError, match="'reader' would have 3 open"
            ) as caught,
        ):
            client.encode(["ACGU"])
        assert caught.value.retry_after_s
        with Client(address, credentials=writer) as client:
            client.encode(["ACGU"])
        hold.set()
        for stream in streams:
            assert list(stream) == []
        with Client(address, credentials=reader) as client:
            client.encode(["ACGU"])
        stubs.channel.close()


def test_limits_name_the_field_what_was_found_and_the_limit(
    own_server: OwnServer,
) -> None:
    with own_server(max_request_nucleotides=100) as address:
        stubs = connect(address)
        many = pb.EncodeRequest(sequences=["A" * 51, "C" * 50])
        with pytest.raises(grpc.RpcError) as caught:
            stubs.encoder.Encode(many)
        failure = failure_of(caught.value)
        assert (failure.code.name, failure.fields) == (
            "INVALID_ARGUMENT",
            ["sequences"],
        )
        assert "101 nucleotides in one message, expected at most 100" in failure.message
        with pytest.raises(grpc.RpcError) as caught:
            list(
                stubs.encoder.EncodeStream(iter([pb.EncodeStreamRequest(request=many)]))
            )
        assert failure_of(caught.value).fields == ["request.sequences"]
        with pytest.raises(grpc.RpcError) as caught:
            stubs.encoder.Encode(pb.EncodeRequest(sequences=["A" * (2 << 20)]))
        failure = failure_of(caught.value)
        assert failure.code.name == "RESOURCE_EXHAUSTED"
        assert "larger than max" in failure.message
        stubs.channel.close()


def test_reflection_can_be_left_out(own_server: OwnServer) -> None:
    with own_server(reflection=False) as address:
        stubs = connect(address)
        channel: Any = stubs.channel
        method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        with pytest.raises(grpc.RpcError) as caught:
            list(channel.unary_stream(method)(b""))
        assert failure_of(caught.value).code.name == "UNIMPLEMENTED"
        stubs.channel.close()

"""Tokens at rest, their scopes, and what refuses a caller."""

import os
import stat
from pathlib import Path

import pytest

from ribolex.errors import (
    CorruptInputError,
    InvalidRequestError,
    NotAuthenticatedError,
    NotPermittedError,
)
from ribolex.server.app import SERVICES
from ribolex.server.auth import METHOD_SCOPES, Auth
from ribolex.server.tokens import SCOPES, add_token, match, read_tokens, revoke_token
from ribolex.v1 import collection_pb2, dictionary_pb2, encoder_pb2

READ, WRITE = (
    "/ribolex.v1.EncoderService/Encode",
    "/ribolex.v1.CollectionService/DeleteCollection",
)


def bearer(secret: str) -> list[tuple[str, str | bytes]]:
    return [("authorization", f"Bearer {secret}")]


def test_every_method_has_a_scope_and_every_scope_a_method() -> None:
    services = {
        service.full_name: service
        for module in (encoder_pb2, collection_pb2, dictionary_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    }
    assert set(services) == set(SERVICES)
    assert set(METHOD_SCOPES) == {
        f"/{name}/{method.name}"
        for name, service in services.items()
        for method in service.methods
    }
    assert set(METHOD_SCOPES.values()) <= set(SCOPES)


def test_a_token_is_nowhere_in_its_file(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "tokens.json"
    secret = add_token(file, "ann", "read").secret
    assert len(secret) > 40
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = match(secret, read_tokens(file))
    assert found is not None
    assert (found.name, found.scope) == ("ann", "read")


def test_a_file_that_others_read_stays_one(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    add_token(file, "ann", "read")
    file.chmod(0o444)  # for the user of a container
    other = (12345, 12346) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(file, *other)
    revoke_token(file, "ann")
    now = file.stat()
    assert stat.S_IMODE(now.st_mode) == 0o444
    assert (now.st_uid, now.st_gid) == other


def test_tokens_are_many_and_can_be_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    ann, ben = (add_token(file, name, "write").secret for name in ("ann", "ben"))
    revoke_token(file, "ann")
    left = read_tokens(file)
    assert match(ann, left) is None
    assert match(ben, left) is not None
    with pytest.raises(InvalidRequestError, match="there is no token 'ann'"):
        revoke_token(file, "ann")


@pytest.mark.parametrize("name", ["", "-x", "a b", "a\n", "x" * 65, "ann"])
def test_a_name_is_refused_that_is_none_or_taken(tmp_path: Path, name: str) -> None:
    file = tmp_path / "tokens.json"
    add_token(file, "ann", "read")
    with pytest.raises(InvalidRequestError):
        add_token(file, name, "read")


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format": 2}', '{"tokens": [{"name": "a"}]}', "\0"]
)
def test_a_damaged_file_is_refused_without_quoting_it(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(content)
    with pytest.raises(CorruptInputError, match=r"tokens.json: is no file of tokens$"):
        read_tokens(file)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_holds_those_before_it(tmp_path: Path, scope: str) -> None:
    file = tmp_path / "tokens.json"
    secret = add_token(file, "ann", scope).secret  # type: ignore[arg-type]
    auth = Auth(file)
    methods = {"read": READ, "write": WRITE, "admin": "/ribolex.v1.New/Thing"}
    for needed, method in methods.items():
        if SCOPES.index(scope) >= SCOPES.index(needed):
            assert auth.check(method, bearer(secret)) == "ann"
        else:
            with pytest.raises(NotPermittedError, match=f"expected '{needed}'"):
                auth.check(method, bearer(secret))


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("authorization", "Basic abc")],
        [("authorization", "Bearer ")],
        [("authorization", "Bearer \N{SNOWMAN}")],
        [("authorization", "Bearer " + "x" * 10_000)],
        [("authorization", "Bearer x"), ("authorization", "Bearer y")],
        [("authorization-bin", b"Bearer x")],
    ],
)
def test_no_good_token_is_no_entry(
    tmp_path: Path, metadata: list[tuple[str, str | bytes]]
) -> None:
    file = tmp_path / "tokens.json"
    add_token(file, "ann", "admin")
    auth = Auth(file)
    with pytest.raises(NotAuthenticatedError):
        auth.check(READ, metadata)
    assert auth.check("/grpc.health.v1.Health/Check", metadata) == ""


def test_a_damaged_file_does_not_replace_what_was_read(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    secret = add_token(file, "ann", "read").secret
    auth = Auth(file)
    file.write_text("gone")
    with pytest.raises(CorruptInputError):
        auth.reload()
    assert auth.check(READ, bearer(secret)) == "ann"

"""A token goes where it is safe, and nowhere else."""

from pathlib import Path

import pytest

from ribolex.client import Client, Credentials, InvalidRequestError
from ribolex.client.credentials import is_loopback

HEADER = (("authorization", "Bearer s3cret"),)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:50051", "localhost:1", "[::1]:50051", "unix:/x", "ipv4:127.0.0.1:5"],
)
def test_this_machine_is_safe(address: str) -> None:
    assert is_loopback(address)
    assert Credentials("s3cret").for_call(address) == HEADER


@pytest.mark.parametrize(
    "address",
    ["10.0.0.7:1", "example.org:443", "[2001:db8::1]:1", "dns:///localhost.evil.org:1",
     "127.0.0.1.evil.org:1", "", "evil.org:127.0.0.1"],
)  # fmt: skip
def test_a_token_does_not_travel_unencrypted(address: str) -> None:
    with pytest.raises(InvalidRequestError, match="unencrypted"):
        Credentials("s3cret").for_call(address)
    with pytest.raises(InvalidRequestError, match="unencrypted"):
        Client(address, credentials=Credentials("s3cret"))
    assert Credentials("s3cret", tls=True).for_call(address) == HEADER
    assert Credentials("s3cret", token_in_clear=True).for_call(address) == HEADER
    assert Credentials().for_call(address) == ()


def test_a_token_can_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    assert Credentials(token_file=file).for_call("localhost:1") == HEADER
    with pytest.raises(InvalidRequestError, match="one of them"):
        Credentials("x", token_file=file).for_call("localhost:1")


def test_the_environment_says_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Credentials.from_environment() == Credentials()
    monkeypatch.setenv("RIBOLEX_TOKEN", "s3cret")
    monkeypatch.setenv("RIBOLEX_CA", "ca.pem")
    found = Credentials.from_environment()
    assert found == Credentials("s3cret", tls_ca=Path("ca.pem"))
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "\N{SNOWMAN}"])
def test_what_is_no_token_is_not_sent(token: str) -> None:
    with pytest.raises(InvalidRequestError, match="one word"):
        Credentials(token).for_call("localhost:1")


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(InvalidRequestError, match="expected both or neither"):
        Credentials(tls_cert=Path("x")).for_channel()

"""What a client shows of itself, and how it knows the server.

Knows certificates and tokens; nothing of what is asked for.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from ribolex.client.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to connect: encrypted or not, with a certificate or not, with which token.

    Attributes:
        token: As `ribolex tokens add` printed it.
        token_file: File that holds it, for which `token` is then None.
        tls: Encrypted, with a server that a well-known authority vouches for.
        tls_ca: Encrypted, with a server that an authority in this file vouches for.
        tls_cert: One's own certificate chain, for a server that wants one.
        tls_key: Its key.
        token_in_clear: Whether the token may go to another machine unencrypted,
            where all on the way can read it.
    """

    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    token_in_clear: bool = False

    @classmethod
    def from_environment(cls) -> Credentials:
        """Returns what RIBOLEX_TOKEN, _TOKEN_FILE, _CA, _CLIENT_CERT and _KEY say."""
        found = os.environ
        names = {
            "token_file": "RIBOLEX_TOKEN_FILE",
            "tls_ca": "RIBOLEX_CA",
            "tls_cert": "RIBOLEX_CLIENT_CERT",
            "tls_key": "RIBOLEX_CLIENT_KEY",
        }
        paths = {key: Path(found[name]) for key, name in names.items() if name in found}
        return cls(token=found.get("RIBOLEX_TOKEN"), **paths)  # type: ignore[arg-type]

    def for_channel(self) -> grpc.ChannelCredentials | None:
        """Returns what a channel is made with; None for an unencrypted one.

        Raises:
            InvalidRequestError: a certificate without its key, or the reverse.
            OSError: a file cannot be read.
        """
        if (self.tls_cert is None) != (self.tls_key is None):
            message = "tls_cert and tls_key: expected both or neither"
            raise InvalidRequestError(message)
        if not (self.tls or self.tls_ca or self.tls_cert):
            return None
        files = (self.tls_ca, self.tls_key, self.tls_cert)
        return grpc.ssl_channel_credentials(
            *(None if path is None else path.read_bytes() for path in files)
        )

    def for_call(self, address: str) -> tuple[tuple[str, str], ...]:
        """Returns the metadata of a call to a server.

        Raises:
            InvalidRequestError: the token would go to another machine unencrypted, or
                there are two, or it is none.
            OSError: its file cannot be read.
        """
        token = self.token
        if self.token_file is not None:
            if token is not None:
                raise InvalidRequestError("token and token_file: expected one of them")
            token = self.token_file.read_text().strip()
        if token is None:
            return ()
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise InvalidRequestError("token: expected one word of plain letters")
        is_safe = self.tls or self.tls_ca or self.tls_cert or is_loopback(address)
        if not is_safe and not self.token_in_clear:
            raise InvalidRequestError(
                f"token: would go to {address} unencrypted; expected TLS (tls_ca), or "
                "token_in_clear if all on the way may read it"
            )
        return (("authorization", f"Bearer {token}"),)


def is_loopback(address: str) -> bool:
    """Returns whether an address of a server, with its port, is on this machine."""
    if address.startswith("unix:"):
        return True
    for scheme in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        address = address.removeprefix(scheme)
    host = address.rpartition(":")[0] if address.count(":") != 0 else address
    host = host.strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

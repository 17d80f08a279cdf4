"""The server's certificate: read, checked, and read again without a restart.

Knows nothing of what is said over the connection.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from ribolex.errors import CorruptInputError


class Tls:
    """A certificate with its key, for gRPC and for HTTP.

    With a client CA a caller over gRPC must bring a certificate that it signed.

    Attributes:
        paths: The files that it was read from.
        context: For HTTP; connections made after a reload get the new certificate.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        """Reads the files.

        Raises:
            CorruptInputError: they do not belong together.
            OSError: one cannot be read.
        """
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self.paths = [cert, key, *([client_ca] if client_ca else [])]
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.set_alpn_protocols(["http/1.1"])
        self._fresh: grpc.ServerCertificateConfiguration | None = None
        self._first = self._read()

    def reload(self) -> None:
        """Reads the files again; raises as at first, and then goes on as before."""
        self._fresh = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Returns what a gRPC port takes; each handshake gets the newest files."""
        return grpc.dynamic_ssl_server_credentials(
            self._first,
            self._take_fresh,  # type: ignore[arg-type]  # None is allowed, see gRPC
            require_client_authentication=self._client_ca is not None,
        )

    def _read(self) -> grpc.ServerCertificateConfiguration:
        key, cert = self._key.read_bytes(), self._cert.read_bytes()
        roots = None if self._client_ca is None else self._client_ca.read_bytes()
        # gRPC finds out at the first handshake, which is late; and on a reload the
        # one file may be new while the other one is not yet.
        _check(self._cert, self._key, self._client_ca)
        self.context.load_cert_chain(self._cert, self._key, password="")
        return grpc.ssl_server_certificate_configuration([(key, cert)], roots)

    def _take_fresh(self) -> grpc.ServerCertificateConfiguration | None:
        """Returns files read since the last handshake; None keeps those before."""
        fresh, self._fresh = self._fresh, None
        return fresh


def _check(cert: Path, key: Path, client_ca: Path | None) -> None:
    """Does nothing if the files can be used together."""
    trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        trial.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        message = f"is no certificate for the key in {key}: {error.reason}"
        raise CorruptInputError(cert, message) from error
    if client_ca is not None:
        try:
            trial.load_verify_locations(client_ca)
        except ssl.SSLError as error:
            message = f"holds no certificates: {error.reason}"
            raise CorruptInputError(client_ca, message) from error

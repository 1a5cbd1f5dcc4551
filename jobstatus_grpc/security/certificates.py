"""What the server shows to clients, and whose clients it takes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from jobstatus_grpc.security.rereading import Reread


class _Pair(NamedTuple):
    """What a handshake takes, in PEM; `clients` is `None` where clients show nothing."""

    key: bytes
    chain: bytes
    clients: bytes | None

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        # gRPC takes what is in it away: one for each time it asks.
        return grpc.ssl_server_certificate_configuration([(self.key, self.chain)], self.clients)


class ServerCertificates:
    """The server's certificate and, for mutual TLS, the authority of its clients.

    Changed files count for the handshakes after the change; what is connected stays connected. The key has no
    pass phrase.

    Args:
        cert_file: the certificate, and those between it and its authority.
        key_file: its private key.
        client_ca_file: the authorities whose clients are taken; empty to ask clients for nothing. With it a
            client without a certificate does not get through the handshake.

    Raises:
        ConfigInvalid: the files cannot be used.
    """

    def __init__(self, cert_file: str, key_file: str, client_ca_file: str = "") -> None:
        self._mutual = bool(client_ca_file)
        files = {"tls_cert_file": cert_file, "tls_key_file": key_file}
        if client_ca_file:
            files["tls_client_ca_file"] = client_ca_file
        self._files = Reread(files, _pair)

    def credentials(self) -> grpc.ServerCredentials:
        """Return what one port is opened with."""
        shown = self._files.current()

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal shown
            newest = self._files.current()
            if newest is shown:
                return None
            shown = newest
            return newest.configuration()

        return grpc.dynamic_ssl_server_credentials(
            shown.configuration(),
            fetch,  # type: ignore[arg-type]  # `None` means that nothing has changed.
            require_client_authentication=self._mutual,
        )

    def look(self) -> None:
        """Look at the files, so that the log tells soon what is wrong with them."""
        self._files.current()


def _pair(contents: Sequence[bytes]) -> _Pair:
    chain, key, *clients = contents
    certificate = _certificates(chain, "the certificate")[0]
    if not certificate.not_valid_before_utc <= datetime.now(UTC) < certificate.not_valid_after_utc:
        raise ValueError("the certificate is not valid at this time")
    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError):
        raise ValueError("the key is not an unencrypted private key in PEM") from None
    if _spki(private.public_key()) != _spki(certificate.public_key()):
        raise ValueError("the key is not the certificate's")
    for authorities in clients:
        _certificates(authorities, "the clients' authority")
    return _Pair(key, chain, clients[0] if clients else None)


def _certificates(pem: bytes, what: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError(f"{what} is not in PEM") from None


def _spki(key: object) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded

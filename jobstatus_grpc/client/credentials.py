"""What a client shows to a server, and takes for one: from files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import grpc

# What may stand behind `Bearer` (RFC 6750).
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/=-]+")


def tls_from_files(ca_file: str = "", cert_file: str = "", key_file: str = "") -> grpc.ChannelCredentials:
    """Return what encrypts a connection: the `tls` of a client.

    Args:
        ca_file: the authorities whose servers are believed, in PEM; empty for the system's.
        cert_file: the client's own certificate and those between it and its authority, in PEM; empty for
            none.
        key_file: its private key, in PEM.

    Raises:
        OSError: a file cannot be read.
        ValueError: there is a certificate without a key, or a key without a certificate.
    """
    if bool(cert_file) != bool(key_file):
        raise ValueError("a client's certificate and its key go together")
    ca, key, cert = (Path(file).read_bytes() if file else None for file in (ca_file, key_file, cert_file))
    return grpc.ssl_channel_credentials(ca, key, cert)


def token_from_file(token_file: str) -> Callable[[], str]:
    """Return what reads a bearer token for each call: the `credentials` of a client.

    So a token that is renewed in its file in time is never seen expired. A call fails with an OSError if the
    file cannot be read, and with a ValueError if something else than a token is in it.

    Args:
        token_file: what has the token, and nothing else but white space around it.
    """

    def read() -> str:
        token = Path(token_file).read_bytes().strip()
        if not _TOKEN.fullmatch(token):
            raise ValueError(f"{token_file} holds no token")
        return token.decode()

    return read

"""What a server's configuration means for those who come to its port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import grpc
import grpc.aio

from jobstatus_grpc.config import ServerConfig
from jobstatus_grpc.security.access import Access
from jobstatus_grpc.security.bearer import BearerTokens, Issuer
from jobstatus_grpc.security.certificates import ServerCertificates

_log = logging.getLogger(__name__)

# How soon a broken file is in the log if nobody calls, in seconds.
_LOOK_INTERVAL: Final = 5.0


class Door:
    """The way into a server: encrypted or not, and with a check of who comes or not.

    Args:
        config: what the operator has set.

    Raises:
        ConfigInvalid: a file it names cannot be used.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._certificates: ServerCertificates | None = None
        self._access: Access | None = None
        if config.tls_cert_file:
            self._certificates = ServerCertificates(
                config.tls_cert_file, config.tls_key_file, config.tls_client_ca_file
            )
        if config.authenticates:
            tokens = BearerTokens(_issuer(config)) if config.jwt_keys_file else None
            self._access = Access(tokens, config.principals_file)
        else:
            whom = "anybody who reaches it" if config.insecure else "everybody on this host"
            _log.warning("callers are not asked who they are: %s may read, report and delete", whom)
        if config.insecure and not config.tls_cert_file:
            _log.warning("what goes over the network is not encrypted")

    @property
    def interceptors(self) -> Sequence[grpc.aio.ServerInterceptor]:
        """What checks calls."""
        return () if self._access is None else (self._access,)

    def open(self, server: grpc.aio.Server, address: str) -> int:
        """Have a server listen; return its port.

        Raises:
            RuntimeError: it cannot listen there.
        """
        if self._certificates is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, self._certificates.credentials())

    async def run(self) -> None:
        """Look at the files again and again, until cancelled; return at once if there are none."""
        looks = [one.look for one in (self._certificates, self._access) if one is not None]
        while looks:
            await asyncio.sleep(_LOOK_INTERVAL)
            for look in looks:
                await asyncio.to_thread(look)


def _issuer(config: ServerConfig) -> Issuer:
    return Issuer(
        config.jwt_keys_file,
        config.jwt_issuer,
        config.jwt_audience,
        config.jwt_projects_claim,
        config.jwt_leeway,
    )

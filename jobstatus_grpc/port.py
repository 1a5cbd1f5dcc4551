"""A port that several processes share, and nobody else gets."""

from __future__ import annotations

import errno
import ipaddress
import socket
from contextlib import ExitStack
from typing import Any, Final, NamedTuple, Self

from jobstatus_grpc.errors import ListenFailed

# A port that is free at one address of a host may be taken at another; if any will do, another is looked for.
_TRIES: Final = 10
_NOT_OF_THIS_HOST: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class HeldPort:
    """A port that processes of this user can listen on with SO_REUSEPORT, and others cannot.

    It is taken as a server takes one for itself: what somebody listens on is an error. It is held by sockets
    that do not listen, so it stays taken while nobody does. Use it as a context manager.

    Args:
        listen: where, as in the configuration.

    Attributes:
        listen: the same, with the port that was chosen if any would do.
        addresses: what to bind for it, each `HOST:PORT` in numbers.

    Raises:
        ListenFailed: the port is taken, or the address is not this host's.
    """

    def __init__(self, listen: str) -> None:
        host, _, port = listen.rpartition(":")
        try:
            sockets = _hold_one_of(int(port), _places(host.strip("[]")))
        except OSError as error:
            raise ListenFailed(listen) from error
        self.listen = f"{host}:{sockets[0].getsockname()[1]}"
        self.addresses = tuple(map(_written, sockets))
        self._sockets = sockets

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it. It is free when those who listen have ended."""
        for one in self._sockets:
            one.close()


class _Place(NamedTuple):
    family: socket.AddressFamily
    host: str
    scope: tuple[int, ...] = ()


def _places(host: str) -> list[_Place]:
    """Return where gRPC listens for a host.

    Raises:
        OSError: nobody knows the host.
    """
    loopback = [_Place(socket.AF_INET6, "::1"), _Place(socket.AF_INET, "127.0.0.1")]
    if host == "localhost":  # Both, whatever the host's own files say.
        return loopback
    found = [
        _Place(family, str(address[0]), tuple(map(int, address[2:])))
        for family, *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    ]
    if any(ipaddress.ip_address(place.host).is_unspecified for place in found):
        # All of IPv4 is all of IPv6 too, where there is any.
        both = _Place(socket.AF_INET6, "::")
        return [both if socket.has_dualstack_ipv6() else _Place(socket.AF_INET, "0.0.0.0")]  # noqa: S104
    return list(dict.fromkeys(found))


def _hold_one_of(port: int, places: list[_Place]) -> list[socket.socket]:
    """Hold a port, any if it is 0, at those places that this host has.

    Raises:
        OSError: it cannot be had at one of them, or this host has none.
    """
    for tries_left in reversed(range(1 if port else _TRIES)):
        try:
            return _hold_everywhere(port, places)
        except OSError as error:
            if not tries_left or error.errno != errno.EADDRINUSE:
                raise
    raise AssertionError("the last try returns or raises")


def _hold_everywhere(port: int, places: list[_Place]) -> list[socket.socket]:
    held: list[socket.socket] = []
    missing = OSError("no address")
    with ExitStack() as stack:
        for place in places:
            try:
                held.append(stack.enter_context(_hold(place, held[0].getsockname()[1] if held else port)))
            except OSError as error:
                if error.errno not in _NOT_OF_THIS_HOST:
                    raise
                missing = error
        if not held:
            raise missing
        stack.pop_all()
    return held


def _hold(place: _Place, port: int) -> socket.socket:
    """Return a socket that holds a port, and does not listen.

    A bound socket that may share its address with others that do not listen yet (SO_REUSEADDR, without which
    the connections of a server that has just ended are in the way) says nothing about who else has bound
    it: only listening does. So the port is taken by a socket that listens, for a moment.
    """
    both = place.host == "::"
    address: Any = (place.host, port, *place.scope)
    with socket.create_server(address, family=place.family, dualstack_ipv6=both) as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held = socket.socket(place.family, socket.SOCK_STREAM)
        try:
            if place.family == socket.AF_INET6:
                held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(first.getsockname())
            # From here on only who shares by SO_REUSEPORT, and is of the same user, can bind it.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        except BaseException:
            held.close()
            raise
    return held


def _written(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if bound.family == socket.AF_INET6 else f"{host}:{port}"

"""What the host of the tests has."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest


def has_ipv6() -> bool:
    """Return whether this host has an address of IPv6, its own."""
    if not socket.has_ipv6:
        return False
    try:
        with closing(socket.socket(socket.AF_INET6)) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no ::1")

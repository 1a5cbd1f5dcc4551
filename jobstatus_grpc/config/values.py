"""How the values of settings are read: each from a text, with words for what is wrong with it."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, urlsplit

_BOOLEANS: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_MAX_PORT: Final = 65_535
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]+)?)([smhd]?)")
_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# What is younger may still be needed to end what has begun: a report whose commit is in doubt looks for its
# changes, and a slow watcher takes its snapshot before it goes on with the changes after it.
_LEAST_AGE: Final = 60.0
_GREATEST_AGE: Final = 36_500 * 86400.0


def listen(text: str) -> str:
    """Return where to listen: `host:port` or `[IPv6]:port`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{text!r} is not host:port")
    if not (port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
        raise ValueError(f"{port!r} is not a port from 0 to {_MAX_PORT}")
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise ValueError(f"{host!r} is not an IPv6 address") from None
    elif ":" in host:
        raise ValueError(f"{text!r} is not host:port; an IPv6 address stands in brackets: [::1]:50051")
    elif not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is not a host")
    return text


def split(url: str) -> SplitResult:
    """Return the parts of a database's URL.

    Raises:
        ValueError: in words that repeat nothing of the URL.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(
            "its host or port cannot be read; percent-encode a password's / ? # @ : [ ]"
        ) from None
    return parts


def database_url(text: str) -> str:
    """Return the URL of a database that can be served, repeating nothing of one that cannot."""
    scheme = text.partition(":")[0]
    if scheme == "sqlite":
        return _sqlite_url(text)
    if scheme != "postgresql" or not text.startswith("postgresql://"):
        raise ValueError("is neither sqlite:///FILE nor postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    parts = split(text)
    # An unencoded character has cut the password in two, and a half of it is where no secret is expected.
    if "@" in parts.path + parts.query + parts.fragment or parts.netloc.count("@") > 1:
        raise ValueError("holds a stray @; percent-encode a password's / ? # @ : [ ]")
    if parts.path in ("", "/"):
        raise ValueError("names no database: postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return text


def source_url(text: str) -> str:
    """Return the URL of a PostgreSQL that jobs are brought from, or nothing."""
    if text.startswith("sqlite:"):
        raise ValueError("is not postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return text and database_url(text)


def shown_url(url: str) -> str:
    """Return a database's URL without user, password and options."""
    parts = split(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _sqlite_url(text: str) -> str:
    file = text.removeprefix("sqlite:///")
    if (
        file == text
        or not file
        or "memory" in file.partition("?")[2]
        or file.startswith((":memory:", "file:"))
    ):
        raise ValueError(
            "names no file: sqlite:///FILE; a database in memory will not do, since every process and "
            "every thread must see the same one"
        )
    return text


def is_loopback(listen: str) -> bool:
    """Return whether only this host can reach an address."""
    host = listen.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def admin_listen(text: str) -> str:
    """Return where to listen; of a port alone, on this host only; nowhere if there is none."""
    return text and listen(f"127.0.0.1:{text}" if text.isdigit() else text)


def words(text: str) -> str:
    """Return a text without control characters: a name, or the path of a file."""
    if not text.isprintable():
        raise ValueError("holds control characters")
    return text


def boolean(text: str) -> bool:
    """Return a truth value, by any of its usual words."""
    if text.lower() not in _BOOLEANS:
        raise ValueError(f"{text!r} is neither true nor false")
    return _BOOLEANS[text.lower()]


def seconds(*, zero: bool) -> Callable[[str], float]:
    """Return what reads a finite number of seconds, from 0 or above it."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number of seconds") from None
        if not math.isfinite(value) or value < 0 or not (value or zero):
            raise ValueError(f"{text!r} is not a number of seconds {'from' if zero else 'above'} 0")
        return value

    return read


def age(text: str) -> float:
    """Return how many seconds a duration like `90s`, `15m`, `36h` or `30d` is.

    Raises:
        ValueError: it is none, or less than a minute, or more than a hundred years.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration like 90s, 15m, 36h or 30d")
    value = float(found[1]) * _UNITS[found[2]]
    if not _LEAST_AGE <= value <= _GREATEST_AGE:
        raise ValueError(f"{text!r} is not from 60s to 36500d")
    return value


def retention(text: str) -> float:
    """Return an age, or 0 for ever."""
    return 0.0 if re.fullmatch(r"0(\.0*)?[smhd]?", text) else age(text)


def count(most: int) -> Callable[[str], int]:
    """Return what reads a number from 1 to `most`."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
            raise ValueError(f"{text!r} is not a number from 1 to {most}")
        return int(text)

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """Return what reads one of these words, in any case."""

    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text.lower()

    return read

"""What an operator can set. Nothing else in the server reads the environment."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from jobstatus_grpc.errors import ConfigInvalid, Violation

PREFIX: Final = "JOBSTATUS_"

_BOOLEANS: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_MAX_PORT: Final = 65_535
_MAX_THREADS: Final = 256
_MAX_WORKERS: Final = 256
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]+)?)([smhd]?)")
_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# What is younger may still be needed to end what has begun: a report whose commit is in doubt looks for its
# changes, and a slow watcher takes its snapshot before it goes on with the changes after it.
_LEAST_AGE: Final = 60.0
_GREATEST_AGE: Final = 36_500 * 86400.0


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """What a server needs to know to start.

    Attributes:
        listen: where to listen, `host:port` or `[IPv6]:port`; port 0 lets the system choose one.
        database_url: `sqlite:///FILE` or `postgresql://…`. May hold a password, so it is not in the `repr`;
            show `shown_database_url`.
        demo: whether to run a demonstration job.
        workers: how many processes serve, on the one port. Limits and threads are each process's own.
        drain_seconds: how long calls may go on after the server was told to stop, in seconds.
        drain_spread: over how long the streams are sent away then, in seconds; at most half of
            `drain_seconds`. Few streams go faster.
        max_stream_age: how long a stream lives at most, in seconds.
        max_connection_age: how long a connection takes new calls, in seconds. It is closed when its last
            stream has reached its own age, or a little later if that stream's client does not read.
        max_watches: how many watches a process serves at once.
        max_watches_per_project: how many of them may be of one project.
        max_transfers: how many documents a process takes in and gives out at once.
        write_timeout: how long a watch waits for a client that does not read, and a document for one that
            neither reads nor sends its next part, in seconds.
        read_threads: how many reads of the database go on at once, besides the one for many callers.
        write_threads: how many writes of the database go on at once.
        poll_interval: how often the database is asked for news, in seconds.
        notify: whether processes tell each other of commits through PostgreSQL's NOTIFY. Without it
            they find them by asking.
        max_waiting_reports: how many reports of one job may wait for their turn, in a process.
        change_retention: for how long the changes of jobs are kept, in seconds; 0 is for ever. A watch that
            was left for longer goes on with a new snapshot. A week is longer than a long weekend.
        job_retention: for how long jobs are kept that have ended, from their last report on, in seconds; 0 is
            for ever, which is the default: a job is deleted because somebody asked for it.
        log_level: `debug`, `info`, `warning` or `error`.
        log_format: `json`, `console`, or `auto`: console on a terminal, else JSON.
    """

    listen: str = "127.0.0.1:50051"
    database_url: str = field(default="sqlite:///jobstatus.db", repr=False)
    demo: bool = False
    workers: int = 1
    drain_seconds: float = 5.0
    drain_spread: float = 2.0
    max_stream_age: float = 1800.0
    max_connection_age: float = 3600.0
    max_watches: int = 20_000
    max_watches_per_project: int = 10_000
    max_transfers: int = 16
    write_timeout: float = 30.0
    read_threads: int = 4
    write_threads: int = 4
    poll_interval: float = 1.0
    notify: bool = True
    max_waiting_reports: int = 1000
    change_retention: float = 7 * 86400.0
    job_retention: float = 0.0
    log_level: str = "info"
    log_format: str = "auto"

    @property
    def shown_database_url(self) -> str:
        """The database's URL without user, password and options."""
        parts = _split(self.database_url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **overrides: object) -> ServerConfig:
        """Return the configuration: an override, else a variable, else the default.

        Args:
            environ: the environment; the variable of `listen` is `JOBSTATUS_LISTEN`, and so on. An empty
                variable is as good as none.
            **overrides: by the names of the attributes; `None` is as good as none.

        Raises:
            ConfigInvalid: names every bad value, and repeats no URL.
        """
        if unknown := overrides.keys() - _READERS.keys():
            raise TypeError(f"no such settings: {', '.join(sorted(unknown))}")
        values: dict[str, Any] = {}
        faults = []
        for name, read in _READERS.items():
            place, text = name, overrides.get(name)
            if text is None:
                place = PREFIX + name.upper()
                text = environ.get(place) or None
            if text is None:
                continue
            try:
                values[name] = read(str(text).strip())
            except ValueError as error:
                faults.append(Violation(place, str(error)))
        if faults:
            raise ConfigInvalid(faults)
        return cls(**values)


def _listen(text: str) -> str:
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


def _split(url: str) -> SplitResult:
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


def _database_url(text: str) -> str:
    scheme = text.partition(":")[0]
    if scheme == "sqlite":
        return _sqlite_url(text)
    if scheme != "postgresql" or not text.startswith("postgresql://"):
        raise ValueError("is neither sqlite:///FILE nor postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    parts = _split(text)
    # An unencoded character has cut the password in two, and a half of it is where no secret is expected.
    if "@" in parts.path + parts.query + parts.fragment or parts.netloc.count("@") > 1:
        raise ValueError("holds a stray @; percent-encode a password's / ? # @ : [ ]")
    if parts.path in ("", "/"):
        raise ValueError("names no database: postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return text


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


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(f"{text!r} is neither true nor false")
    return _BOOLEANS[text.lower()]


def _seconds(*, zero: bool) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number of seconds") from None
        if not math.isfinite(seconds) or seconds < 0 or not (seconds or zero):
            raise ValueError(f"{text!r} is not a number of seconds {'from' if zero else 'above'} 0")
        return seconds

    return read


def age(text: str) -> float:
    """Return how many seconds a duration like `90s`, `15m`, `36h` or `30d` is.

    Raises:
        ValueError: it is none, or less than a minute, or more than a hundred years.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration like 90s, 15m, 36h or 30d")
    seconds = float(found[1]) * _UNITS[found[2]]
    if not _LEAST_AGE <= seconds <= _GREATEST_AGE:
        raise ValueError(f"{text!r} is not from 60s to 36500d")
    return seconds


def _retention(text: str) -> float:
    return 0.0 if re.fullmatch(r"0(\.0*)?[smhd]?", text) else age(text)


def _count(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
            raise ValueError(f"{text!r} is not a number from 1 to {most}")
        return int(text)

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text.lower()

    return read


_READERS: Final[dict[str, Callable[[str], object]]] = {
    "listen": _listen,
    "database_url": _database_url,
    "demo": _boolean,
    "workers": _count(_MAX_WORKERS),
    "drain_seconds": _seconds(zero=True),
    "drain_spread": _seconds(zero=True),
    "max_stream_age": _seconds(zero=False),
    "max_connection_age": _seconds(zero=False),
    "max_watches": _count(1_000_000),
    "max_watches_per_project": _count(1_000_000),
    "max_transfers": _count(1_000),
    "write_timeout": _seconds(zero=False),
    "read_threads": _count(_MAX_THREADS),
    "write_threads": _count(_MAX_THREADS),
    "poll_interval": _seconds(zero=False),
    "notify": _boolean,
    "max_waiting_reports": _count(1_000_000),
    "change_retention": _retention,
    "job_retention": _retention,
    "log_level": _one_of("debug", "info", "warning", "error"),
    "log_format": _one_of("auto", "json", "console"),
}

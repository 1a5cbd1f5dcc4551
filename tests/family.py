"""The processes another one has started, and their connections, as the operating system tells them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Connection(NamedTuple):
    """One end of an established connection, by its ports."""

    port: int
    peer: int


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that have not been taken note of as ended."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    """Return whether a process has ended, even if nobody has taken note of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def has_loaded(pid: int, library: str) -> bool:
    """Return whether a process has mapped a file with this in its name."""
    return library in Path(f"/proc/{pid}/maps").read_text()


def connections(pid: int) -> list[Connection]:
    """Return the established TCP connections of a process."""
    return _sockets(pid, "01")


def listens(pid: int, port: int) -> bool:
    """Return whether a process listens on a port."""
    return port in {found.port for found in _sockets(pid, "0A")}


def _sockets(pid: int, wanted: str) -> list[Connection]:
    found = []
    owned = {_target(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, remote, state, *_, inode = line.split()[:10]
            if state == wanted and f"socket:[{inode}]" in owned:
                found.append(Connection(*(int(end.rpartition(":")[2], 16) for end in (local, remote))))
    return found


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except FileNotFoundError:  # Closed meanwhile.
        return ""

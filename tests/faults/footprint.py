"""What a server holds: tasks, watches, threads, files, sockets, and its ears at the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Final, NamedTuple

from observed import observe
from processes import ServerProcess

# Threads that are made when they are needed, and kept: how many of each there may be.
_THREADS: Final[Mapping[str, int]] = {
    "announce": 1,
    "watchdog": 1,
    "read": 4,
    "batch": 1,
    "write": 4,
    "tail": 2,
    "behind": 2,
    "snapshot": 2,
    "probe": 1,
    "retention": 1,
}
# What docs/operating.md says a server has at most.
_DATABASE_CONNECTIONS: Final = 4 + 4 + 14
# An SQLite connection has the file, its log, and, the first of a process, the memory they share.
_FILES_PER_CONNECTION: Final = 3
_LISTENING: Final = 0x0A
# gRPC's own threads come and go a little, and with them what they wait on.
_PLAY: Final = 2


class Footprint(NamedTuple):
    """What a server holds at a moment, without what it may make as it needs it.

    Attributes:
        tasks: of its event loop.
        watches: how many places for watches are taken.
        feeds: of watched jobs.
        threads: Python's, without those that are made when they are needed.
        native: threads that are not Python's.
        clients: connections of clients, closed by them or not.
        others: open files and sockets that have to do with neither clients nor the database.
        excess: threads, and connections to the database, beyond what there may ever be.
    """

    tasks: int
    watches: int
    feeds: int
    threads: tuple[str, ...]
    native: int
    clients: int
    others: int
    excess: tuple[str, ...]

    def is_back(self, before: Footprint) -> bool:
        """Return whether nothing has been added since."""
        same = ("watches", "feeds", "threads", "clients", "excess")
        return (
            all(getattr(self, name) == getattr(before, name) for name in same)
            and self.tasks <= before.tasks
            and self.native <= before.native + _PLAY
            and self.others <= before.others + _PLAY
        )


def footprint_of(server: ServerProcess, database: int | Path) -> Footprint:
    """Return what a server holds; its database is at a port, or in a file."""
    held = observe(server)
    made, threads = Counter[str](), []
    for name in held["threads"]:
        kind = name.removeprefix("jobstatus-").partition("_")[0]
        if kind in _THREADS:
            made[kind] += 1
        else:
            threads.append(name)
    kinds = Counter(_kinds(server, database))
    excess = [f"{made[kind]} threads of {kind}" for kind in _THREADS if made[kind] > _THREADS[kind]]
    limit = _DATABASE_CONNECTIONS * (1 if isinstance(database, int) else _FILES_PER_CONNECTION)
    if kinds["database"] > limit:
        excess.append(f"{kinds['database']} ways to the database")
    return Footprint(
        tasks=held["tasks"],
        watches=held["watches"],
        feeds=held["feeds"],
        threads=tuple(sorted(threads)),
        native=len(list(Path(f"/proc/{server.pid}/task").iterdir())) - len(held["threads"]),
        clients=kinds["client"],
        others=kinds["other"],
        excess=tuple(excess),
    )


def ports_towards(server: ServerProcess, port: int) -> set[int]:
    """Return the ports from which a server is connected to a port."""
    return {
        socket.local
        for target in _targets(server)
        if (socket := _sockets(server).get(target)) is not None and socket.remote == port
    }


class _Socket(NamedTuple):
    local: int
    remote: int
    state: int


def _kinds(server: ServerProcess, database: int | Path) -> Iterator[str]:
    """Yield of each open file and socket what it has to do with."""
    listens = int(server.address.rpartition(":")[2])
    sockets, local = _sockets(server), _local_sockets(server)
    for target in _targets(server):
        socket = sockets.get(target)
        if socket is None:
            own = isinstance(database, Path) and target.startswith(str(database))
            # A connection to the database that has broken unnoticed; a client's is closed at once.
            broken = target.startswith("socket:") and target not in local
            yield "database" if own or broken else "other"
        elif socket.remote == database:
            yield "database"
        elif socket.local == listens and socket.state != _LISTENING:
            yield "client"
        else:
            yield "other"


def _targets(server: ServerProcess) -> Iterator[str]:
    """Yield what each descriptor of a process is."""
    for descriptor in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            yield str(descriptor.readlink())
        except FileNotFoundError:  # Closed meanwhile.
            continue


def _sockets(server: ServerProcess) -> Mapping[str, _Socket]:
    """Return the TCP sockets of the host, by what descriptors of them are called."""
    found = {}
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{server.pid}/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            local, remote = (int(words[index].rpartition(":")[2], 16) for index in (1, 2))
            found[f"socket:[{words[9]}]"] = _Socket(local, remote, int(words[3], 16))
    return found


def _local_sockets(server: ServerProcess) -> Set[str]:
    """Return the host's sockets that go nowhere else, as descriptors of them are called."""
    lines = Path(f"/proc/{server.pid}/net/unix").read_text().splitlines()[1:]
    return {f"socket:[{line.split()[6]}]" for line in lines}

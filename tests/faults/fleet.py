"""Servers on one database, and the cables between them, their clients and the database."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from moments import wait_until
from observed import KEEPALIVE, OBSERVED
from postgres import LISTENING, PostgresServer
from processes import ServerProcess
from sqlalchemy import make_url

from faults.cables import Cable, Cables
from faults.footprint import Footprint, footprint_of, ports_towards

# Seconds after which a silent client is pinged, and taken for gone: a server's own are longer.
_KEEPALIVE: Final = "5 3"
# How long a server may take to let go of what it held: of clients that say nothing as long as that.
_PATIENCE: Final = 60.0
# An errand lasts a few ms, a look at three servers longer.
_LOOKS: Final = 5
_CORE_WARNING: Final = re.compile(r"[IW]\d{4} ")
_SELECT_LISTENING: Final = f"SELECT client_port FROM pg_stat_activity WHERE datname = %s AND {LISTENING}"


class FleetServer(ServerProcess):
    """A server that can be looked into, and whose log is kept.

    Args:
        database_url: its database.
        log_file: where its log goes.
        variables: more of its environment.
        **settings: by their names in the configuration.
    """

    command = OBSERVED

    def __init__(
        self, database_url: str, log_file: Path, variables: Mapping[str, str], **settings: str
    ) -> None:
        super().__init__(database_url, log_format="json", **settings)
        self._settings |= {KEEPALIVE: _KEEPALIVE, **variables}
        self._log_file = log_file
        self._read = 0
        self.log = log_file.open("a")

    def freeze(self) -> None:
        """Stop it, so that it does nothing until `thaw`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def complaints(self) -> list[str]:
        """Return what its log says, since this was last asked, beyond warnings."""
        with self._log_file.open(errors="replace") as log:
            log.seek(self._read)
            lines = log.read().splitlines()
            self._read = log.tell()
        return [line for line in lines if _complains(line)]


def _complains(line: str) -> bool:
    """Return whether a line is more than a warning; one that is nobody's is."""
    try:
        said: Any = json.loads(line)
    except ValueError:
        # gRPC's own lines begin with their level.
        return _CORE_WARNING.match(line) is None
    return said.get("level") not in ("debug", "info", "warning")


class Fleet:
    """Servers on one database. Use it as a context manager.

    Args:
        database_url: their database, in PostgreSQL or in a file.
        home: where logs go.
        number: how many servers.
        postgres: the server of the database, where it has one.
        cables: what lines between them, their clients and the database are made of; without, they meet
            directly.
        variables: more of the servers' environment.
        **settings: of the servers.

    Attributes:
        database_url: the database, by the direct way.
        home: where logs go.
        postgres: the server of the database.
        servers: all of them.
        inward: the cables from clients, in the order of the servers.
        onward: the cables to the database, in the order of the servers.
    """

    def __init__(
        self,
        database_url: str,
        home: Path,
        *,
        number: int = 3,
        postgres: PostgresServer | None = None,
        cables: Cables | None = None,
        variables: Mapping[str, str] | None = None,
        **settings: str,
    ) -> None:
        self.database_url = database_url
        self.home = home
        self.postgres = postgres
        self.inward: list[Cable] = []
        self.onward: list[Cable] = []
        self._cables = cables
        self._url = make_url(database_url)
        self.servers: Sequence[FleetServer] = [
            FleetServer(self._way_to_database(), home / f"server-{index}.log", variables or {}, **settings)
            for index in range(number)
        ]

    def __enter__(self) -> Self:
        self.start(*self.servers)
        if self._cables is not None:
            for server in self.servers:
                host, _, port = server.address.rpartition(":")
                self.inward.append(self._cables.lay(host, int(port)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self.servers:
            server.__exit__(kind, error, trace)
            assert server.log is not None
            server.log.close()

    @property
    def addresses(self) -> list[str]:
        """Where clients find the servers."""
        return [cable.address for cable in self.inward] or [server.address for server in self.servers]

    def start(self, *servers: FleetServer) -> None:
        """Start servers, all at once."""
        with ThreadPoolExecutor(len(servers)) as pool:
            list(pool.map(FleetServer.start, servers))

    def heal(self) -> None:
        """Have everything run again, whatever a trial that broke off has left."""
        for cable in (*self.inward, *self.onward):
            cable.mend()
        if self.postgres is not None:
            self.postgres.start()
        for server in self.servers:
            server.complaints()
            server.thaw()
        dead = [
            server for server in self.servers if server.process is None or server.process.poll() is not None
        ]
        if dead:
            self.start(*dead)

    def footprints(self) -> list[Footprint]:
        """Return what each server holds."""
        return [footprint_of(server, self._database_of(index)) for index, server in enumerate(self.servers)]

    def at_rest(self) -> list[Footprint]:
        """Return what each server holds between the short errands it does all the time."""
        looks: list[list[Footprint]] = []

        def quiet() -> bool:
            looks.append(self.footprints())
            return len(looks) >= _LOOKS and looks[-_LOOKS:].count(looks[-1]) == _LOOKS

        wait_until(quiet, "the servers are at rest", _PATIENCE)
        return looks[-1]

    def ears(self) -> list[int]:
        """Return how many connections each server has on which it listens for news.

        Through a line that is not the fleet's own nobody can tell whose they are: all together then.
        """
        if self.postgres is None:
            return []
        heard = [row[0] for row in self.postgres.execute(_SELECT_LISTENING, (self._url.database,))]
        ports = [self._ports_of(index) for index in range(len(self.servers))]
        if self.onward or make_url(self.postgres.url("")).port == self._url.port:
            return [len(own.intersection(heard)) for own in ports]
        return [len(heard)]

    def wait_until_back(self, before: Sequence[Footprint], ears: Sequence[int]) -> list[str]:
        """Wait until every server holds no more than before; return what is left over after a while."""
        now: list[Footprint] = []

        def back() -> bool:
            now[:] = self.footprints()
            return all(map(Footprint.is_back, now, before)) and self.ears() == ears

        try:
            wait_until(back, "the servers are back where they were", _PATIENCE)
        except AssertionError:
            held = [
                f"{was} before, {holds} now" for was, holds in zip(before, now, strict=True) if was != holds
            ]
            return [*held, f"listening: {ears} before, {self.ears()} now"]
        return []

    def _way_to_database(self) -> str:
        if self._cables is None or self._url.host is None:
            return self.database_url
        cable = self._cables.lay(self._url.host, self._url.port or 5432)
        self.onward.append(cable)
        return self._url.set(host=cable.host, port=cable.port).render_as_string(hide_password=False)

    def _database_of(self, index: int) -> int | Path:
        """Return where a server finds its database: a port, or a file."""
        if self._url.host is None:
            return Path(self._url.database or "")
        return self.onward[index].port if self.onward else self._url.port or 5432

    def _ports_of(self, index: int) -> set[int]:
        """Return the ports from which a server's connections come to the database."""
        if self.onward:
            return self.onward[index].ports
        return ports_towards(self.servers[index], self._url.port or 5432)

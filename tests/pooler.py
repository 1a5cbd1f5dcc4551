"""Debian's PgBouncer in transaction mode, in front of a PostgreSQL server."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from moments import wait_until

PROGRAM: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
"""Where it is; `None` without the Debian package pgbouncer."""

_SETTINGS: Final = """
[databases]
* = host=127.0.0.1 port={behind} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {home}/users
pool_mode = transaction
max_client_conn = 1000
default_pool_size = 40
server_idle_timeout = 1
server_login_retry = 1
ignore_startup_parameters = extra_float_digits
logfile = {home}/log
"""


class Pooler:
    """A running pooler.

    Args:
        behind: the port of the server that it is in front of.

    Attributes:
        port: where it is itself.
    """

    def __init__(self, behind: int) -> None:
        assert PROGRAM is not None
        self._home = Path(tempfile.mkdtemp(prefix="jobstatus-pooler-"))
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = self._home / "pgbouncer.ini"
        settings.write_text(_SETTINGS.format(behind=behind, port=self.port, home=self._home))
        (self._home / "users").write_text('"postgres" ""\n')
        account: dict[str, Any] = {}
        if os.geteuid() == 0:
            entry = pwd.getpwnam("nobody")
            for path in (self._home, *self._home.iterdir()):
                os.chown(path, entry.pw_uid, entry.pw_gid)
            account = {"user": entry.pw_uid, "group": entry.pw_gid}
        self._process = subprocess.Popen(
            [PROGRAM, str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **account,
        )
        wait_until(self._listens, "the pooler listens")

    def close(self) -> None:
        """Stop it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=30)
        shutil.rmtree(self._home)

    def _listens(self) -> bool:
        assert self._process.poll() is None, (self._home / "log").read_text()
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

"""The command and the server as the processes a user starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from moments import wait_until

from jobstatus_grpc.client import open_channel

COMMAND = str(Path(sys.executable).with_name("jobstatus"))
PATIENCE = 60
"""Seconds after which a process is taken for stuck."""


def environment(server: str = "", **more: str) -> dict[str, str]:
    """Return the environment of a command, without what the tests' own might say."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("JOBSTATUS_", "GRPC_"))
    }
    return clean | ({"JOBSTATUS_SERVER": server} if server else {}) | more


def run_command(
    *arguments: str, server: str = "", stdin: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `jobstatus` to its end."""
    return subprocess.run(
        [COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        env=environment(server, **(env or {})),
        check=False,
    )


def start_command(*arguments: str, server: str = "") -> subprocess.Popen[str]:
    """Start `jobstatus` with pipes to all its streams."""
    return subprocess.Popen(
        [COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(server),
    )


def first_line(stream: IO[str] | None) -> str:
    """Return the next line of a process."""
    assert stream is not None
    return stream.readline().rstrip("\n")


def resident_megabytes(pid: int) -> int:
    """Return how much memory a process has."""
    (line,) = [
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")
    ]
    return int(line.split()[1]) // 1024


class ServerProcess:
    """A server, as `jobstatus serve` starts it. Use it as a context manager.

    Args:
        database_url: its database.
        *arguments: more of the command's.
        **settings: by their names in the configuration, passed in the environment.

    Attributes:
        database_url: its database.
        address: its `host:port`, the same after every `start`.
        command: what starts `jobstatus`.
        log: where its log goes; `None` is the test's own standard error.
        tls: what its clients connect with; `None` if it encrypts nothing.
    """

    command: Sequence[str] = (COMMAND,)
    log: IO[str] | None = None
    tls: grpc.ChannelCredentials | None = None

    def __init__(self, database_url: str, *arguments: str, **settings: str) -> None:
        self.database_url = database_url
        self._arguments = ("--database-url", database_url, *arguments)
        self._settings = {f"JOBSTATUS_{name.upper()}": value for name, value in settings.items()}
        self.address = "127.0.0.1:0"
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.kill()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it, and return when it is ready."""
        self.process = subprocess.Popen(
            [*self.command, "serve", "--listen", self.address, *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            encoding="utf-8",
            env=environment(**self._settings),
        )
        line = first_line(self.process.stdout)
        assert line.startswith("listening on "), line
        self.address = line.removeprefix("listening on ")
        with open_channel(self.address, self.tls) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            wait_until(lambda: self._is_ready(health), "the server is ready")

    @staticmethod
    def _is_ready(health: Any) -> bool:
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def terminate(self) -> int:
        """Ask it to stop; return its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self._end()

    def kill(self) -> int:
        """End it at once; return its exit status."""
        assert self.process is not None
        self.process.kill()
        return self._end()

    def _end(self) -> int:
        assert self.process is not None
        self.process.communicate(timeout=PATIENCE)
        return self.process.returncode

"""What sections are measured on: a PostgreSQL server, databases, servers, and how large everything is."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from types import TracebackType
from typing import Self
from uuid import uuid4

from filled import fill_granules
from observed import OBSERVED
from orca import OrcaDatabase
from postgres import PostgresServer
from processes import ServerProcess
from stored import run

from bench.figures import Findings
from jobstatus_grpc.config import ServerConfig
from jobstatus_grpc.model import JobKey
from jobstatus_grpc.store import upgrade
from jobstatus_grpc.store.base import StoredJob

Key = tuple[str, str]

ROUNDS = 3


class Stage:
    """Where a run takes place. Use it as a context manager.

    Args:
        scale: how large it is; 1 is what the goals are for.
        findings: takes the figures.
    """

    def __init__(self, scale: float, findings: Findings) -> None:
        self.scale = scale
        self.findings = findings
        self._postgres = PostgresServer(os.environ.get("TEST_POSTGRES_URL"))
        self._databases: list[str] = []
        self._files = tempfile.TemporaryDirectory(prefix="jobstatus-bench-")

    def __enter__(self) -> Self:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        self._postgres.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._databases:
            self._postgres.drop_database(name)
        self._postgres.close()
        self._files.cleanup()

    def seconds(self, full: float) -> float:
        """Return how long to measure what takes so long at full scale; nothing is learnt from a moment."""
        return max(min(full, 2.0), full * self.scale)

    def number(self, full: int, least: int) -> int:
        """Return how many there are where at full scale there are so many."""
        return min(full, max(least, round(full * self.scale)))

    def database(self) -> str:
        """Return the URL of a new database, empty and up to date."""
        name = f"jobstatus_bench_{uuid4().hex}"
        self._postgres.create_database(name)
        self._databases.append(name)
        url = self._postgres.url(name)
        upgrade(url)
        return url

    def fill(self, url: str, key: Key, granules: int) -> StoredJob:
        """Give a job so many granules and their changes, past the store, and return it as it is then."""
        stored = fill_granules(url, JobKey(*key), granules)
        if url.startswith("postgresql"):
            # As it would be by itself some minutes later.
            run(url, "vacuum analyze")
        return stored

    def file(self) -> str:
        """Return the URL of a new SQLite file, on the disk of the temporary directory."""
        url = f"sqlite:///{self._files.name}/{uuid4().hex}.db"
        upgrade(url)
        return url

    def orca(self) -> OrcaDatabase:
        """Return a new ORCA database, without jobs."""
        made = OrcaDatabase(self._postgres)
        self._databases.append(made.name)
        return made

    @property
    def database_pid(self) -> int | None:
        """The process of the PostgreSQL server, if it is our own."""
        return self._postgres.pid


class BenchedServer(ServerProcess):
    """A server as a user starts it, and its process."""

    def __init__(self, database_url: str, **settings: str) -> None:
        super().__init__(database_url, log_level="error", **settings)


class ObservedServer(BenchedServer):
    """A server that tells how many tasks it has."""

    command = OBSERVED


def keys(projects: int, jobs: int) -> Sequence[Key]:
    """Return the ids of so many jobs, evenly over projects."""
    return [(f"project-{number % projects}", f"job-{number}") for number in range(jobs)]


def knows_setting(name: str) -> bool:
    """Return whether a server can be told so, in this version."""
    return name in {field.name for field in fields(ServerConfig)}

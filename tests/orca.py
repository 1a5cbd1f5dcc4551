"""An ORCA database in a real PostgreSQL: its tables, its roles, and writers that write as ORCA does."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

import psycopg2
from postgres import PostgresServer
from sqlalchemy import make_url

PENDING, STAGED, ERROR, SUCCESS = 1, 2, 3, 4
READER: Final = "orca_reader"
PASSWORD: Final = "p@ss:word/?"

_ROLES: Final = """
do $$ begin
    if not exists (select from pg_roles where rolname = 'orca_dbo') then create role orca_dbo; end if;
    if not exists (select from pg_roles where rolname = 'orca_app') then create role orca_app login; end if;
    if not exists (select from pg_roles where rolname = 'orca_reader') then
        create role orca_reader login password 'p@ss:word/?';
    end if;
exception when duplicate_object or unique_violation then null;
end $$
"""
_TABLES: Final = """
create schema orca authorization orca_dbo;
set role orca_dbo;
create table orca.recovery_status (id int2 primary key, value text not null);
insert into orca.recovery_status values (1, 'pending'), (2, 'staged'), (3, 'error'), (4, 'success');
create table orca.recovery_job (
    job_id text not null, {collection} granule_id text not null, archive_destination text not null,
    status_id int2 not null references orca.recovery_status (id),
    request_time timestamptz not null, completion_time timestamptz null,
    primary key (job_id, {key} granule_id)
);
create table orca.recovery_file (
    job_id text not null, {collection} granule_id text not null, filename text not null,
    key_path text not null, multipart_chunksize_mb int null, restore_destination text not null,
    status_id int2 not null references orca.recovery_status (id), error_message text null,
    request_time timestamptz not null, last_update timestamptz not null, completion_time timestamptz null,
    primary key (job_id, {key} granule_id, filename),
    foreign key (job_id, {key} granule_id) references orca.recovery_job (job_id, {key} granule_id)
);
grant usage on schema orca to orca_app, orca_reader;
grant select, insert, update on all tables in schema orca to orca_app;
grant select on all tables in schema orca to orca_reader;
reset role;
"""
_INSERT_JOB: Final = """
insert into orca.recovery_job
    (job_id, {collection} granule_id, archive_destination, status_id, request_time, completion_time)
values (%(job_id)s, {value} %(granule_id)s, 'archive', %(status_id)s, now(), {completion})
"""
_INSERT_FILE: Final = """
insert into orca.recovery_file
    (job_id, {collection} granule_id, filename, key_path, multipart_chunksize_mb, restore_destination,
     status_id, error_message, request_time, last_update, completion_time)
values (%(job_id)s, {value} %(granule_id)s, %(filename)s, 'path/' || %(filename)s, null, 'destination',
        %(status_id)s, %(error_message)s, now(), now(), {completion})
"""
_UPDATE_FILE: Final = """
update orca.recovery_file
set status_id = %(status_id)s, error_message = %(error_message)s, last_update = now(),
    completion_time = case when %(status_id)s in (3, 4) then clock_timestamp() end
where job_id = %(job_id)s and {where} granule_id = %(granule_id)s and filename = %(filename)s
"""
_UPDATE_JOB: Final = """
update orca.recovery_job
set status_id = files.status_id,
    completion_time = case when files.status_id in (3, 4) then files.completion_time end
from (
    select min(status_id) as status_id, max(completion_time) as completion_time
    from orca.recovery_file
    where job_id = %(job_id)s and {where} granule_id = %(granule_id)s
) as files
where job_id = %(job_id)s and {where} granule_id = %(granule_id)s and files.status_id is not null
"""


class OrcaGranule(NamedTuple):
    """A granule's name in ORCA, and those of its files."""

    job_id: str
    collection_id: str
    granule_id: str
    files: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, Any]:
        """The name as statements take it."""
        return {
            "job_id": self.job_id,
            "collection_id": self.collection_id,
            "granule_id": self.granule_id,
        }


class OrcaDatabase:
    """ORCA's tables in a database of their own.

    Args:
        server: where.
        collections: whether granules have collections; older installations have none.

    Attributes:
        url: for a role that may only read.
    """

    def __init__(self, server: PostgresServer, collections: bool = True) -> None:
        self.server = server
        self.name = f"orca_{uuid4().hex}"
        server.create_database(self.name)
        self._collections = collections
        words = {
            "collection": ("collection_id text not null," if collections else ""),
            "key": ("collection_id," if collections else ""),
        }
        with closing(psycopg2.connect(server.url(self.name))) as connection, connection.cursor() as cursor:
            cursor.execute(_ROLES)
            cursor.execute(_TABLES.format(**words))
            connection.commit()

    @property
    def url(self) -> str:
        return self.url_of(READER, PASSWORD)

    def url_of(self, role: str, password: str | None = None) -> str:
        """Return the database's URL for a role."""
        url = make_url(self.server.url(self.name)).set(username=role, password=password)
        return url.render_as_string(hide_password=False)

    def secret(self, path: Path, **changes: object) -> Path:
        """Write what ORCA keeps in its secrets manager, and return the file."""
        url = make_url(self.url)
        entry = {
            "host": url.host,
            "port": str(url.port),
            "user_database": self.name,
            "user_username": READER,
            "user_password": PASSWORD,
            "admin_database": "postgres",
        }
        path.write_text(json.dumps({**entry, **changes}))
        return path

    def close(self) -> None:
        """Drop it."""
        self.server.drop_database(self.name)

    def execute(self, words: str, values: Any = None) -> list[Any]:
        """Run one statement as the owner of everything, and return its rows."""
        with closing(psycopg2.connect(self.server.url(self.name))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(words, values)
                return cursor.fetchall() if cursor.description else []

    @contextmanager
    def writer(self) -> Iterator[OrcaWriter]:
        """Open a connection as ORCA's lambdas do."""
        with closing(psycopg2.connect(self.url_of("orca_app"))) as connection:
            yield OrcaWriter(connection, self._collections)

    def granules(self) -> dict[tuple[str, str, str], tuple[int, Any]]:
        """Return the state of every granule, and when it was completed."""
        column = "collection_id" if self._collections else "''"
        words = f"select job_id, {column}, granule_id, status_id, completion_time from orca.recovery_job"
        return {row[:3]: row[3:] for row in self.execute(words)}

    def fill(
        self, jobs: int, granules: int, files: int, status_id: int = SUCCESS, analyze: bool = True
    ) -> None:
        """Insert many jobs at once, whose granules are all in one state; then the planner may learn of it."""
        values = {"jobs": jobs, "granules": granules, "files": files, "status": status_id}
        finished = "case when %(status)s in (3, 4) then now() - interval '1 hour' end"
        self.execute(
            f"""
            insert into orca.recovery_job
            select 'job-' || lpad(j::text, 8, '0'), 'c', 'g-' || lpad(g::text, 8, '0'), 'archive', %(status)s,
                now() - interval '2 hours', {finished}
            from generate_series(1, %(jobs)s) j, generate_series(1, %(granules)s) g;
            insert into orca.recovery_file
            select job_id, collection_id, granule_id, 'f-' || f, 'path', null, 'destination', status_id, null,
                request_time, request_time, completion_time
            from orca.recovery_job, generate_series(1, %(files)s) f;
            {"analyze orca.recovery_job; analyze orca.recovery_file" if analyze else "select"}
            """,
            values,
        )


class OrcaWriter:
    """Writes as ORCA's lambdas do, one transaction at a time; `commit` ends it, whenever that is."""

    def __init__(self, connection: Any, collections: bool) -> None:
        self.connection = connection
        self._words = {
            "collection": "collection_id," if collections else "",
            "value": "%(collection_id)s," if collections else "",
            "where": "collection_id = %(collection_id)s and" if collections else "",
        }

    def create(self, granule: OrcaGranule, status_id: int = PENDING, commit: bool = True) -> None:
        """Insert a granule and its files; one without files is in error at once."""
        status_id = status_id if granule.files else ERROR
        final = "now()" if status_id in (ERROR, SUCCESS) else "null"
        message = "could not be requested" if status_id == ERROR else None
        values = {**granule.values, "status_id": status_id, "error_message": message}
        with self.connection.cursor() as cursor:
            cursor.execute(_INSERT_JOB.format(**self._words, completion=final), values)
            for name in granule.files:
                words = _INSERT_FILE.format(**self._words, completion=final)
                cursor.execute(words, {**values, "filename": name})
        if commit:
            self.commit()

    def update(
        self,
        granule: OrcaGranule,
        filename: str,
        status_id: int,
        error_message: str | None = None,
        commit: bool = True,
    ) -> None:
        """Set the state of one file, and of its granule what follows from all of them."""
        values = {
            **granule.values,
            "filename": filename,
            "status_id": status_id,
            "error_message": error_message,
        }
        with self.connection.cursor() as cursor:
            cursor.execute(_UPDATE_FILE.format(**self._words), values)
            cursor.execute(_UPDATE_JOB.format(**self._words), values)
        if commit:
            self.commit()

    def commit(self) -> None:
        """End the transaction."""
        self.connection.commit()

    def finish(
        self, granule: OrcaGranule, status_id: int = SUCCESS, error_message: str | None = None
    ) -> None:
        """Set the state of all files, one after the other."""
        for name in granule.files:
            self.update(granule, name, status_id, error_message)


def orca_granules(job_id: str, granules: int, files: int, collection_id: str = "c") -> Sequence[OrcaGranule]:
    """Return the names of a job's granules."""
    return [
        OrcaGranule(job_id, collection_id, f"g-{number:05}", tuple(f"f-{each}" for each in range(files)))
        for number in range(granules)
    ]


class OrcaLife:
    """What one writer does to some granules, drawn at random: creations, steps, moves back, late commits.

    Args:
        database: where.
        granules: which.
        seed: of the draws.
    """

    def __init__(self, database: OrcaDatabase, granules: Sequence[OrcaGranule], seed: int) -> None:
        self._database = database
        self._granules = list(granules)
        self._random = random.Random(seed)

    def run(self, pause: float = 0.0) -> None:
        """Live it to its end: every granule ends in success or error.

        Args:
            pause: how long a late commit is held back, in seconds, at most.
        """
        draw, wait = self._random, threading.Event().wait
        with self._database.writer() as writer:
            open_granules: list[OrcaGranule] = []
            waiting = self._granules
            while waiting or open_granules:
                if waiting and (not open_granules or draw.random() < 0.3):
                    granule = waiting.pop()
                    writer.create(granule, commit=False)
                    if granule.files:
                        open_granules.append(granule)
                else:
                    granule = draw.choice(open_granules)
                    self._step(writer, granule, open_granules)
                if pause and draw.random() < 0.02:
                    wait(draw.random() * pause)
                writer.commit()

    def _step(self, writer: OrcaWriter, granule: OrcaGranule, open_granules: list[OrcaGranule]) -> None:
        draw = self._random
        if draw.random() < 0.02:
            writer.update(granule, "no-such-file", SUCCESS, commit=False)
        elif draw.random() < 0.3:
            name = draw.choice(granule.files)
            state = draw.choice((PENDING, STAGED, ERROR, SUCCESS))
            writer.update(granule, name, state, "broken" if state == ERROR else None, commit=False)
        else:
            state = draw.choice((SUCCESS, SUCCESS, SUCCESS, ERROR))
            for name in granule.files:
                writer.update(granule, name, state, "given up" if state == ERROR else None)
            if draw.random() < 0.9:
                open_granules.remove(granule)

"""The schema in the catalogue of each database, and a server in front of one that does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from postgres import PostgresServer
from processes import ServerProcess, run_command
from reports import JOB, granule, job
from sqlalchemy import make_url
from stored import connected, history, opened, run

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient
from jobstatus_grpc.errors import SchemaMismatch
from jobstatus_grpc.model import Details, GranuleKey, JobKey
from jobstatus_grpc.store import migrations, open_store, schema, upgrade

UPGRADE: Final = "jobstatus db upgrade"

# What a table is made of. The table that holds the version is the migrations' own.
_CATALOGUE: Final = {
    "sqlite": (
        "select type, name, sql from sqlite_master where name <> 'alembic_version' and sql is not null",
    ),
    "postgresql": (
        """select table_name, ordinal_position, column_name, data_type, is_nullable, column_default,
           collation_name, is_identity, character_maximum_length
           from information_schema.columns
           where table_schema = 'public' and table_name <> 'alembic_version'""",
        """select indexname, indexdef from pg_indexes
           where schemaname = 'public' and tablename <> 'alembic_version'""",
        """select conname, contype, pg_get_constraintdef(oid) from pg_constraint
           where connamespace = 'public'::regnamespace and conname not like 'alembic_version%%'""",
        """select relname, relkind, relpersistence, reloptions from pg_class
           where relnamespace = 'public'::regnamespace and relname not like 'alembic_version%%'""",
        "select tgname from pg_trigger",
    ),
}


def catalogue(url: str) -> list[list[Any]]:
    """Return what a database says its tables are."""
    return [sorted(map(_told, run(url, query))) for query in _CATALOGUE[make_url(url).get_backend_name()]]


def _told(row: tuple[object, ...]) -> str:
    """Return a row of the catalogue as a text, whatever its spaces."""
    return " | ".join(" ".join(str(value).split()) for value in row)


@contextmanager
def empty_database(url: str, server: PostgresServer) -> Iterator[str]:
    """Make a database of the same kind as `url`, in which there is nothing."""
    if url.startswith("sqlite"):
        yield url.replace(".db", "-empty.db")
        return
    name = f"jobstatus_{uuid4().hex}"
    server.create_database(name)
    try:
        yield server.url(name)
    finally:
        server.drop_database(name)


@pytest.fixture
def empty_url(database_url: str, postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database, of each kind."""
    with empty_database(database_url, postgres_server) as url:
        yield url


def serve_in_vain(url: str) -> list[str]:
    """Start a server that cannot work, and return what it says on standard error: no logs, no traceback."""
    arguments = ("--listen", "127.0.0.1:0", "--database-url", url, "--log-level", "error")
    done = run_command("serve", *arguments)
    assert done.returncode == 2, done.stderr
    return done.stderr.splitlines()


def set_version(url: str, version: str) -> None:
    run(url, f"update alembic_version set version_num = '{version}'")


def another(*, major: int = 0, minor: int = 0) -> str:
    """Return the version that is so far from the program's."""
    ours = [int(number) for number in schema.VERSION.split("_")]
    return f"{ours[0] + major}_{ours[1] + minor}"


def test_the_migrations_lead_to_the_very_tables_the_program_declares(
    database_url: str, empty_url: str
) -> None:
    with connected(empty_url) as connection:
        schema.metadata.create_all(connection)
    declared = catalogue(empty_url)
    for table in schema.metadata.tables:
        assert any(f"{table} |" in entry for entry in declared[0])
    assert catalogue(database_url) == declared


def test_a_second_upgrade_changes_nothing(empty_url: str) -> None:
    upgrade(empty_url)
    before = catalogue(empty_url), run(empty_url, "select * from store"), run(empty_url, "select * from job")
    upgrade(empty_url)
    after = catalogue(empty_url), run(empty_url, "select * from store"), run(empty_url, "select * from job")
    assert after == before
    assert len(before[1]) == 1


# A job with one granule, as every version of this major has them.
_OLD_ROWS: Final = (
    """insert into job (project_id, job_id, state, attempt, create_time, update_time, labels, revision,
       unspecified_count, pending_count, staged_count, succeeded_count, failed_count, granules_complete,
       state_reported, begin_time_reported, end_time_reported, commit_id, change_floor, last_report_time)
       values ('default', 'restore-1', 2, 1, 1, 2, '{"k": "v"}', 1, 0, 0, 1, 0, 0, false, true, false, false,
       7, 1, 2)""",
    """insert into granule (job_pk, collection_id, granule_id, state, attempt, update_time, revision)
       values (1, 'c', 'g', 2, 1, 2, 1)""",
    """insert into change (job_pk, revision, commit_id, change_time, kind, collection_id, granule_id, state,
       attempt, unspecified_count, pending_count, staged_count, succeeded_count, failed_count)
       values (1, 1, 7, 2, 1, 'c', 'g', 2, 1, 0, 0, 1, 0, 0)""",
)


@pytest.mark.parametrize("version", ["1_0", "1_1", "1_2", "1_3"])
def test_what_an_older_version_holds_is_there_after_the_upgrade_and_can_be_reported_on(
    empty_url: str, version: str
) -> None:
    with connected(empty_url) as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, version)
    run(empty_url, *_OLD_ROWS)
    upgrade(empty_url)
    assert run(empty_url, "select version_num from alembic_version") == [(schema.VERSION,)]
    details = Details("sdrs", {"resource_id": "r"})
    with opened(empty_url) as store:
        assert store.read_granule(JobKey("default", ""), GranuleKey("c", "g")).job == JOB
        before = store.read_job(JOB)
        assert (before.job.revision, before.job.labels, before.job.details_bytes) == (1, {"k": "v"}, 0)
        assert store.report(job(granule("g", document="of g"), details=details)).applied == 1
        assert len(history(store, before.job_pk, before.position)) == 1
        with store.open_whole(JOB) as whole:
            assert (whole.details, whole.document) == (details, None)
            assert [(each.granule_id, each.document) for each in whole.granules] == [("g", "of g")]


def test_the_command_upgrades_an_empty_database_and_says_so_each_time(empty_url: str) -> None:
    for _ in range(2):
        done = run_command("db", "upgrade", "--database-url", empty_url)
        assert (done.returncode, done.stdout) == (0, "the schema is up to date\n"), done.stderr
    assert run(empty_url, "select version_num from alembic_version") == [(schema.VERSION,)]


def test_a_postgresql_without_a_schema_ends_the_server_in_one_line_that_names_the_command(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    with empty_database(postgres_url, postgres_server) as url:
        (line,) = serve_in_vain(url)
        assert line.startswith("error: ")
        assert UPGRADE in line
        assert "SCHEMA_MISMATCH" in line
        assert run(url, "select count(*) from pg_tables where schemaname = 'public'") == [(0,)]


def test_a_schema_older_than_needed_is_refused_in_words_that_name_the_command(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = schema.VERSION
    monkeypatch.setattr(schema, "VERSION", another(minor=1))
    opened = open_store(postgres_url)
    with pytest.raises(SchemaMismatch, match=UPGRADE) as caught:
        opened.prepare()
    opened.close()
    assert schema.VERSION in str(caught.value)
    assert run(postgres_url, "select version_num from alembic_version") == [(found,)]


@pytest.mark.parametrize("distance", [-1, 1])
def test_a_schema_of_another_major_ends_the_server_in_one_line_that_names_both(
    database_url: str, distance: int
) -> None:
    other = another(major=distance)
    set_version(database_url, other)
    (line,) = serve_in_vain(database_url)
    assert line.startswith("error: ")
    assert other in line
    assert schema.VERSION in line


def test_a_server_works_with_a_later_minor_version_of_its_own_major(database_url: str) -> None:
    later = another(minor=1)
    set_version(database_url, later)
    with ServerProcess(database_url) as server, JobStatusClient(server.address) as client:
        assert client.report_job(pb.Job(job_id="j")).revision == 1
        assert client.get("j").job.job_id == "j"
    assert run(database_url, "select version_num from alembic_version") == [(later,)]


def test_a_key_is_not_given_again_when_the_newest_job_is_gone_and_the_store_is_opened_anew(
    database_url: str,
) -> None:
    keys = []
    for _ in range(3):
        store = open_store(database_url)
        store.prepare()
        made = store.report(job(granule("a")))
        store.delete_job(job().key)
        while store.purge():
            pass
        store.close()
        keys.append(made.job_pk)
    assert run(database_url, "select count(*) from job") == [(0,)]
    assert keys == sorted(set(keys))

"""The schema: what the migrations leave is what the program thinks, and others are refused."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from reports import JOB, granule, job
from sqlalchemy import text
from stored import connected, run

from jobstatus_grpc.errors import SchemaMismatch
from jobstatus_grpc.store import open_store, schema, upgrade


def prepare(url: str) -> None:
    opened = open_store(url)
    try:
        opened.prepare()
    finally:
        opened.close()


# What no library compares: an index over an expression.
EXPRESSED = "granule_jobs_idx"


def is_compared(_item: object, name: str | None, *_: object) -> bool:
    return name != EXPRESSED


@pytest.mark.filterwarnings("ignore:.*expression-based index")
def test_the_migrations_leave_the_tables_the_program_thinks_of(database_url: str) -> None:
    with connected(database_url) as connection:
        options = {"compare_type": True, "include_object": is_compared}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
        assert context.get_current_revision() == schema.VERSION


def test_the_migrations_leave_the_index_over_an_expression_the_program_thinks_of(database_url: str) -> None:
    kept = (
        "select sql from sqlite_master where name = :name"
        if database_url.startswith("sqlite")
        else "select indexdef from pg_indexes where indexname = :name"
    )
    (index,) = (each for each in schema.granule.indexes if each.name == EXPRESSED)
    with connected(database_url) as connection, connection.begin():
        left = connection.scalar(text(kept), {"name": EXPRESSED})
        index.drop(connection)
        index.create(connection)
        assert left == connection.scalar(text(kept), {"name": EXPRESSED}) is not None


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(database_url: str) -> None:
    opened = open_store(database_url)
    opened.prepare()
    first = opened.report(job(granule("a")))
    upgrade(database_url)
    opened.prepare()
    assert opened.read_job(JOB).position == first.position
    opened.close()
    assert run(database_url, "SELECT count(*) FROM store")[0][0] == 1


def test_a_later_minor_version_is_worked_with_and_left_as_it_is(database_url: str) -> None:
    major, minor = map(int, schema.VERSION.split("_"))
    later = f"{major}_{minor + 1}"
    run(database_url, f"UPDATE alembic_version SET version_num = '{later}'")
    prepare(database_url)
    upgrade(database_url)
    assert run(database_url, "SELECT version_num FROM alembic_version") == [(later,)]


@pytest.mark.parametrize("offset", [-1, 1])
def test_another_major_version_is_refused_in_words_that_name_both(database_url: str, offset: int) -> None:
    other = f"{int(schema.VERSION.split('_')[0]) + offset}_0"
    run(database_url, f"UPDATE alembic_version SET version_num = '{other}'")
    for work in (prepare, upgrade):
        with pytest.raises(SchemaMismatch, match=other):
            work(database_url)


@pytest.mark.parametrize("url", ["", "jobstatus.db", "mysql://host/database", "redis://host"])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        open_store(url)

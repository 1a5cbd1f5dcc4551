"""Databases with much in them: a job or granule is reported, and copied past the store as often as wanted."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, Table, text
from stored import connected, opened

from jobstatus_grpc.model import GranuleReport, JobKey, JobReport, Report
from jobstatus_grpc.store import schema
from jobstatus_grpc.store.base import StoredJob

COLLECTION = "tiles"

_LARGEST = 10**8


def name_of(number: int, kind: str = "granule") -> str:
    """Return the id of a granule, or a job, by its number: from 1, in their order."""
    return f"{kind}-{_LARGEST + number}"


def fill_granules(url: str, key: JobKey, count: int) -> StoredJob:
    """Give a job `count` pending granules, each a change of its own, and return it as it is then.

    The job is reported if nobody has.
    """
    first = name_of(1)
    with opened(url) as store:
        store.report(Report(key, JobReport(*key), [GranuleReport(COLLECTION, first)]))
        stored = store.read_job(key)
        copied = f"copied.job_pk = {stored.job_pk} and copied.granule_id = '{first}'"
        item = {
            "granule_id": f"'granule-' || ({_LARGEST} + number)",
            "revision": "copied.revision + number - 1",
        }
        totals = {"pending_count": "copied.pending_count + number - 1"}
        with connected(url) as connection:
            _copy(connection, schema.granule, count, copied, item)
            _copy(connection, schema.change, count, copied, item | totals)
            connection.execute(
                text(
                    "update job set revision = revision + :more, pending_count = pending_count + :more, "
                    "tally = '[' || (revision + :more) || ']' where job_pk = :job_pk"
                ),
                {"more": count - 1, "job_pk": stored.job_pk},
            )
        return store.read_job(key)


def fill_jobs(url: str, project_id: str, count: int, prefix: str = "job", deleted: bool = False) -> None:
    """Have `count` jobs more in a project, each with its first change, named by `prefix` and a number.

    Of `deleted` ones all but the first are rows that wait to be purged.
    """
    key = JobKey(project_id, name_of(1, prefix))
    with opened(url) as store:
        store.report(Report(key, JobReport(*key, description="one of many"), ()))
        job_pk = store.read_job(key).job_pk
    row = {"job_pk": f"{job_pk} + number - 1"}
    own = {"job_id": f"'{prefix}-' || ({_LARGEST} + number)"}
    if deleted:
        own = {"job_id": "null", "delete_time": "1"}
    with connected(url) as connection:
        copied = f"copied.job_pk = {job_pk}"
        _copy(connection, schema.job, count, copied, row | own)
        _copy(connection, schema.change, count, copied, row)
        if connection.dialect.name == "postgresql":
            sequence = "pg_get_serial_sequence('job', 'job_pk')"
            connection.execute(text(f"select setval({sequence}, max(job_pk)) from job"))


def _copy(connection: Connection, table: Table, count: int, copied: str, changed: Mapping[str, str]) -> None:
    """Copy a row for each number from 2 to `count`, in which some columns are changed."""
    columns = [column.name for column in table.c]
    values = ", ".join(changed.get(name, f"copied.{name}") for name in columns)
    connection.execute(
        text(
            f"insert into {table.name} ({', '.join(columns)}) "
            "with recursive numbers(number) as "
            "(select 2 where 2 <= :count union all select number + 1 from numbers where number < :count) "
            f"select {values} from {table.name} as copied cross join numbers where {copied}"
        ),
        {"count": count},
    )

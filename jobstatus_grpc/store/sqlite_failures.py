"""The tables of failures in SQLite's words."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from jobstatus_grpc.digest import MAX_SAMPLES
from jobstatus_grpc.store.failures import Failed, FailedKey, ReasonRow, Written
from jobstatus_grpc.store.queries import Query

# `cross join` keeps the order: without it SQLite may scan the table once for every key.
_SELECT_FAILED: Final = """
select f.job_pk, f.collection_id, f.granule_id, f.reason_number, f.attempt
from json_each(?) as k cross join failed_granule as f
where f.job_pk = json_extract(k.value, '$[0]')
  and f.collection_id = json_extract(k.value, '$[1]') and f.granule_id = json_extract(k.value, '$[2]')
"""
_SELECT_REASONS: Final = f"""
select {", ".join(f"r.{name}" for name in ReasonRow._fields)}
from json_each(?) as k cross join failure_reason as r on r.job_pk = k.value
"""  # noqa: S608
_WRITE_FAILED: Final = """
insert into failed_granule (job_pk, collection_id, granule_id, reason_number, attempt) values (?, ?, ?, ?, ?)
on conflict (job_pk, collection_id, granule_id)
do update set reason_number = excluded.reason_number, attempt = excluded.attempt
"""
_REMOVE_FAILED: Final = "delete from failed_granule where job_pk = ? and collection_id = ? and granule_id = ?"
_WRITE_REASONS: Final = f"""
insert into failure_reason ({", ".join(ReasonRow._fields)}) values (?{", ?" * len(ReasonRow._fields[1:])})
on conflict (job_pk, reason_number)
do update set {", ".join(f"{name} = excluded.{name}" for name in ReasonRow._fields[2:])}
"""  # noqa: S608
_REMOVE_REASONS: Final = "delete from failure_reason where job_pk = ? and reason_number = ?"
_SELECT_FAILURES: Final = f"""
select job.job_pk, revision, commit_id, failed_count, (
    select json_group_array(json_array(r.code, r.reason, r.granule_count, r.first_time, r.last_time, json((
        select json_group_array(json_array(s.collection_id, s.granule_id))
        from (
            select collection_id, granule_id
            from failed_granule as f
            where f.job_pk = r.job_pk and f.reason_number = r.reason_number
            order by collection_id, granule_id
            limit {MAX_SAMPLES}
        ) as s
    ))))
    from failure_reason as r
    where r.job_pk = job.job_pk
)
from json_each(:job_pks) as k cross join job on job.job_pk = k.value
where delete_time is null
"""  # noqa: S608


class SqliteFailures:
    """The tables in an SQLite file; fulfils `failures.FailureTables`."""

    def read_failed(self, connection: Connection, keys: Collection[FailedKey]) -> Mapping[FailedKey, Failed]:
        found = connection.exec_driver_sql(_SELECT_FAILED, (json.dumps(list(keys)),))
        return {FailedKey(*row[:3]): Failed(*row[3:]) for row in found}

    def read_reasons(self, connection: Connection, job_pks: Collection[int]) -> Sequence[ReasonRow]:
        found = connection.exec_driver_sql(_SELECT_REASONS, (json.dumps(list(job_pks)),))
        return [ReasonRow(*row) for row in found]

    def write(self, connection: Connection, written: Written) -> None:
        failed = [(*key, *row) for key, row in written.failed.items()]
        for statement, rows in (
            (_REMOVE_FAILED, list(written.gone)),
            (_WRITE_FAILED, failed),
            (_REMOVE_REASONS, written.emptied),
            (_WRITE_REASONS, written.reasons),
        ):
            if rows:
                connection.exec_driver_sql(statement, [tuple(row) for row in rows])

    def query(self, job_pks: Collection[int]) -> Query:
        return Query(_SELECT_FAILURES, {"job_pks": json.dumps(list(job_pks))})

"""The tables of failures in PostgreSQL's words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, text

from jobstatus_grpc.digest import MAX_SAMPLES
from jobstatus_grpc.store.failures import Failed, FailedKey, ReasonRow, Written
from jobstatus_grpc.store.postgres_arrays import array_literal, array_parameters, places, unnested
from jobstatus_grpc.store.queries import Query
from jobstatus_grpc.store.rows import TypedColumn

_KEY_COLUMNS: Final = (
    TypedColumn("job_pk", "bigint"),
    TypedColumn("collection_id", "text"),
    TypedColumn("granule_id", "text"),
)
_FAILED_COLUMNS: Final = (
    *_KEY_COLUMNS,
    TypedColumn("reason_number", "smallint"),
    TypedColumn("attempt", "integer"),
)
_PLACE_COLUMNS: Final = (TypedColumn("job_pk", "bigint"), TypedColumn("reason_number", "smallint"))
_REASON_COLUMNS: Final = (
    *_PLACE_COLUMNS,
    TypedColumn("code", "text"),
    TypedColumn("reason", "text"),
    TypedColumn("granule_count", "integer"),
    TypedColumn("first_time", "bigint"),
    TypedColumn("last_time", "bigint"),
)


# By the key's index, once for each key: the limit keeps the planner from reading all of a job.
_SELECT_FAILED: Final = text(f"""
select f.*
from {unnested("k", _KEY_COLUMNS)}
cross join lateral (
    select {", ".join(column.name for column in _FAILED_COLUMNS)}
    from failed_granule
    where failed_granule.job_pk = k.job_pk
      and failed_granule.collection_id = k.collection_id and failed_granule.granule_id = k.granule_id
    limit 1
) as f
""")  # noqa: S608
_SELECT_REASONS: Final = text(f"""
select {", ".join(ReasonRow._fields)} from failure_reason where job_pk = any(cast(:job_pks as bigint[]))
""")  # noqa: S608


# One round trip. No row is in two of the parts.
_WRITE: Final = text(f"""
with gone as (
    delete from failed_granule where ctid = any({places("failed_granule", "gone", _KEY_COLUMNS)})
), emptied as (
    delete from failure_reason where ctid = any({places("failure_reason", "emptied", _PLACE_COLUMNS)})
), failed as (
    insert into failed_granule ({", ".join(column.name for column in _FAILED_COLUMNS)})
    select * from {unnested("failed", _FAILED_COLUMNS)}
    on conflict (job_pk, collection_id, granule_id)
    do update set reason_number = excluded.reason_number, attempt = excluded.attempt
)
insert into failure_reason ({", ".join(ReasonRow._fields)})
select * from {unnested("reason", _REASON_COLUMNS)}
on conflict (job_pk, reason_number)
do update set {", ".join(f"{name} = excluded.{name}" for name in ReasonRow._fields[2:])}
""")  # noqa: S608
_SELECT_FAILURES: Final = f"""
select j.job_pk, j.revision, j.commit_id, j.failed_count, (
    select cast(json_agg(json_build_array(
        r.code, r.reason, r.granule_count, r.first_time, r.last_time, (
            select json_agg(json_build_array(s.collection_id, s.granule_id))
            from (
                select collection_id, granule_id
                from failed_granule as f
                where f.job_pk = r.job_pk and f.reason_number = r.reason_number
                order by collection_id, granule_id
                limit {MAX_SAMPLES}
            ) as s
        ))) as text)
    from failure_reason as r
    where r.job_pk = j.job_pk
)
from job as j
where j.job_pk = any(cast(%(job_pks)s as bigint[])) and j.delete_time is null
"""  # noqa: S608


class PostgresFailures:
    """The tables in a PostgreSQL database; fulfils `failures.FailureTables`."""

    def read_failed(self, connection: Connection, keys: Collection[FailedKey]) -> Mapping[FailedKey, Failed]:
        found = connection.execute(_SELECT_FAILED, array_parameters("k", _KEY_COLUMNS, keys))
        return {FailedKey(*row[:3]): Failed(*row[3:]) for row in found}

    def read_reasons(self, connection: Connection, job_pks: Collection[int]) -> Sequence[ReasonRow]:
        found = connection.execute(_SELECT_REASONS, {"job_pks": array_literal(job_pks)})
        return [ReasonRow(*row) for row in found]

    def write(self, connection: Connection, written: Written) -> None:
        failed = [(*key, *row) for key, row in written.failed.items()]
        connection.execute(
            _WRITE,
            {
                **array_parameters("gone", _KEY_COLUMNS, written.gone),
                **array_parameters("emptied", _PLACE_COLUMNS, written.emptied),
                **array_parameters("failed", _FAILED_COLUMNS, failed),
                **array_parameters("reason", _REASON_COLUMNS, written.reasons),
            },
        )

    def query(self, job_pks: Collection[int]) -> Query:
        return Query(_SELECT_FAILURES, {"job_pks": array_literal(job_pks)})

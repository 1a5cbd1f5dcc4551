"""The tables of files in PostgreSQL's words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, text

from jobstatus_grpc.model import GranuleFile
from jobstatus_grpc.store import rows
from jobstatus_grpc.store.files import FileKey
from jobstatus_grpc.store.postgres_arrays import array_parameters, unnested

_NAMES: Final = [column.name for column in rows.FILE_COLUMNS]
_KEY: Final = [column.name for column in rows.FILE_KEY_COLUMNS]
# By the key's index, once for each key: the limit keeps the planner from reading all of a job.
_SELECT_FILES: Final = text(f"""
select f.*
from {unnested("k", rows.FILE_KEY_COLUMNS)}
cross join lateral (
    select {", ".join(_NAMES)}
    from granule_file
    where {" and ".join(f"granule_file.{name} = k.{name}" for name in _KEY)}
    limit 1
) as f
""")  # noqa: S608
# One round trip. Where a granule's row is does not change under the root's lock.
_WRITE: Final = text(f"""
with told as (
    update granule set files = place.files
    from (
        select g.ctid, tally.files
        from {unnested("tally", rows.TALLY_COLUMNS)}
        cross join lateral (
            select ctid
            from granule
            where granule.job_pk = tally.job_pk
              and granule.collection_id = tally.collection_id and granule.granule_id = tally.granule_id
            limit 1
        ) as g
    ) as place
    where granule.ctid = place.ctid
)
insert into granule_file ({", ".join(_NAMES)})
select * from {unnested("file", rows.FILE_COLUMNS)}
on conflict ({", ".join(_KEY)})
do update set {", ".join(f"{name} = excluded.{name}" for name in _NAMES[len(_KEY) :])}
""")  # noqa: S608


class PostgresFiles:
    """The tables in a PostgreSQL database; fulfils `files.FileTables`."""

    def read(self, connection: Connection, keys: Collection[FileKey]) -> Mapping[FileKey, GranuleFile]:
        found = connection.execute(_SELECT_FILES, array_parameters("k", rows.FILE_KEY_COLUMNS, keys))
        return {FileKey(*row[: len(_KEY)]): rows.file_from_row(row[3:]) for row in found}

    def write(self, connection: Connection, tallies: Sequence[rows.Row], files: Sequence[rows.Row]) -> None:
        connection.execute(
            _WRITE,
            {
                **array_parameters("tally", rows.TALLY_COLUMNS, tallies),
                **array_parameters("file", rows.FILE_COLUMNS, files),
            },
        )

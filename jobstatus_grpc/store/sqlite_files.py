"""The tables of files in SQLite's words."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from jobstatus_grpc.model import GranuleFile
from jobstatus_grpc.store import rows
from jobstatus_grpc.store.files import FileKey

_NAMES: Final = [column.name for column in rows.FILE_COLUMNS]
_KEY: Final = [column.name for column in rows.FILE_KEY_COLUMNS]
# `cross join` keeps the order: without it SQLite may scan the table once for every key.
_SELECT_FILES: Final = f"""
select {", ".join(f"f.{name}" for name in _NAMES)}
from json_each(?) as k cross join granule_file as f
where {" and ".join(f"f.{name} = json_extract(k.value, '$[{place}]')" for place, name in enumerate(_KEY))}
"""  # noqa: S608
_WRITE_FILES: Final = f"""
insert into granule_file ({", ".join(_NAMES)}) values (?{", ?" * len(_NAMES[1:])})
on conflict ({", ".join(_KEY)})
do update set {", ".join(f"{name} = excluded.{name}" for name in _NAMES[len(_KEY) :])}
"""  # noqa: S608
_WRITE_TALLIES: Final = """
update granule set files = ?4 where job_pk = ?1 and collection_id = ?2 and granule_id = ?3
"""


class SqliteFiles:
    """The tables in an SQLite file; fulfils `files.FileTables`."""

    def read(self, connection: Connection, keys: Collection[FileKey]) -> Mapping[FileKey, GranuleFile]:
        found = connection.exec_driver_sql(_SELECT_FILES, (json.dumps(list(keys)),))
        return {FileKey(*row[: len(_KEY)]): rows.file_from_row(row[3:]) for row in found}

    def write(self, connection: Connection, tallies: Sequence[rows.Row], files: Sequence[rows.Row]) -> None:
        connection.exec_driver_sql(_WRITE_TALLIES, list(tallies))
        if files:
            connection.exec_driver_sql(_WRITE_FILES, list(files))

"""The files of granules: read and written with reports that tell any, and with their granule alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from sqlalchemy import ColumnElement, Connection, ScalarSelect, select, text, tuple_

from jobstatus_grpc.errors import GranuleNotFound, JobNotFound
from jobstatus_grpc.model import FileTally, Granule, GranuleFile, GranuleKey, GranuleReport, JobKey
from jobstatus_grpc.store import rows, schema
from jobstatus_grpc.store.base import StoredGranule
from jobstatus_grpc.store.values import FilePage, FilePlace

# How many of the jobs that have a granule are looked at together, the latest first.
_EXAMINED_JOBS: Final = 1_000

_PAGE_FILES: Final = 10_000

_JOB: Final = schema.job.c
_GRANULE: Final = schema.granule.c
_FILE: Final = schema.granule_file.c
_SELECT_GRANULE: Final = select(*(_GRANULE[column.name] for column in rows.GRANULE_COLUMNS), _GRANULE.files)
_SELECT_FILES: Final = select(*(_FILE[column.name] for column in rows.FILE_COLUMNS[3:]))


def _of_job(column: ColumnElement[str]) -> ScalarSelect[str]:
    return select(column).where(_JOB.job_pk == _GRANULE.job_pk).scalar_subquery()


# The jobs that have a granule of this name, the youngest first.
_SELECT_REQUESTED: Final = (
    select(
        _GRANULE.job_pk,
        _GRANULE.request_time,
        _GRANULE.collection_id,
        _of_job(_JOB.project_id),
        _of_job(_JOB.job_id),
    )
    .where(text(f"{schema.GRANULE_NAME} = :name"))
    .order_by(_GRANULE.job_pk.desc())
    .limit(_EXAMINED_JOBS)
)


class FileKey(NamedTuple):
    """A file of any granule."""

    job_pk: int
    collection_id: str
    granule_id: str
    file_name: str


class FileTables(Protocol):
    """The tables in a database's own words."""

    def read(self, connection: Connection, keys: Collection[FileKey]) -> Mapping[FileKey, GranuleFile]:
        """Return those of the files that exist, in one statement."""

    def write(self, connection: Connection, tallies: Sequence[rows.Row], files: Sequence[rows.Row]) -> None:
        """Write files, and what those of their granules come to, in two statements at most.

        Args:
            connection: in a transaction that holds the root's lock.
            tallies: of TALLY_COLUMNS, no granule twice; not empty. The granules are there.
            files: of FILE_COLUMNS, no file twice.
        """


def wanted(
    job_pk: int, granules: Mapping[GranuleKey, Granule], reports: Iterable[GranuleReport]
) -> Iterator[FileKey]:
    """Yield those of the files reported that there can be: their granule has some."""
    for report in reports:
        if report.files:
            granule = granules.get(report.key)
            if granule is not None and granule.files is not None:
                yield from (FileKey(job_pk, *report.key, file.file_name) for file in report.files)


def with_files(
    job_pk: int, granules: Mapping[GranuleKey, Granule], found: Mapping[FileKey, GranuleFile]
) -> Mapping[GranuleKey, Granule]:
    """Return granules of a job with those of their files that were found."""
    named: dict[GranuleKey, dict[str, GranuleFile]] = {}
    for key, file in found.items():
        if key.job_pk == job_pk:
            named.setdefault(GranuleKey(*key[1:3]), {})[key.file_name] = file
    changed = {}
    for name, files in named.items():
        tally = granules[name].files
        if tally is not None:
            changed[name] = granules[name]._replace(files=tally._replace(named=files))
    return {**granules, **changed}


def write(
    tables: FileTables, connection: Connection, told: Sequence[tuple[int, GranuleKey, FileTally]]
) -> None:
    """Write what reports have changed of files.

    Args:
        tables: the tables.
        connection: in a transaction that holds the root's lock.
        told: granules, by their jobs' rows, and what their files come to, with those that changed; not empty.
    """
    tallies = [rows.tally_row(*each) for each in told]
    changed = [
        rows.file_row(job_pk, key, file) for job_pk, key, files in told for file in files.named.values()
    ]
    tables.write(connection, tallies, changed)


def read_granule(connection: Connection, key: JobKey, name: GranuleKey) -> StoredGranule:
    """Return a granule with all of its files, as `JobStore.read_granule` does."""
    found = _find_job(connection, key) if key.job_id else _find_latest_job(connection, key, name)
    job_pk, job_id = found
    row = connection.execute(
        _SELECT_GRANULE.where(
            _GRANULE.job_pk == job_pk,
            _GRANULE.collection_id == name.collection_id,
            _GRANULE.granule_id == name.granule_id,
        )
    ).one_or_none()
    if row is None:
        raise GranuleNotFound(*key, *name)
    *columns, tally = row
    job_key, granule = JobKey(key.project_id, job_id), rows.granule_from_row(columns)
    return StoredGranule(job_key, granule, () if tally is None else _read_files(connection, job_pk, name))


def _read_files(connection: Connection, job_pk: int, name: GranuleKey) -> Sequence[GranuleFile]:
    found = connection.execute(
        _SELECT_FILES.where(
            _FILE.job_pk == job_pk,
            _FILE.collection_id == name.collection_id,
            _FILE.granule_id == name.granule_id,
        ).order_by(_FILE.file_name)
    )
    return list(map(rows.file_from_row, found))


def read_page(connection: Connection, key: JobKey, after: FilePlace) -> FilePage:
    """Return a page of a job's files, as `JobStore.read_files` does."""
    job_pk, _ = _find_job(connection, key)
    place = (_FILE.collection_id, _FILE.granule_id, _FILE.file_name)
    found = connection.execute(
        _SELECT_FILES.add_columns(*place[:2])
        .where(_FILE.job_pk == job_pk, tuple_(*place) > after)
        .order_by(*place)
        .limit(_PAGE_FILES)
    )
    return [(GranuleKey(*row[-2:]), rows.file_from_row(row[:-2])) for row in found]


def _find_job(connection: Connection, key: JobKey) -> tuple[int, str]:
    named = (_JOB.project_id == key.project_id, _JOB.job_id == key.job_id)
    job_pk = connection.scalar(select(_JOB.job_pk).where(*named))
    if job_pk is None:
        raise JobNotFound(*key)
    return job_pk, key.job_id


class _Requested(NamedTuple):
    """A job that has a granule, and since when."""

    job_pk: int
    request_time: int | None
    collection_id: str
    project_id: str
    job_id: str | None

    @property
    def place(self) -> tuple[bool, int, int]:
        """Where it stands among those that have requested the granule: the greatest was the last."""
        return self.request_time is not None, self.request_time or 0, self.job_pk


def _find_latest_job(connection: Connection, key: JobKey, name: GranuleKey) -> tuple[int, str]:
    """Return the job of a project that requested a granule last.

    Whose the jobs are, and whether only their names for the granule are alike together, is told apart here:
    in the statement it would lead one database or the other away from the indices.
    """
    named = {"name": " ".join(name)}
    examined = connection.execute(_SELECT_REQUESTED, named).all()
    while examined:
        requests = [_Requested(*row) for row in examined]
        mine = [
            each
            for each in requests
            if (each.project_id, each.collection_id) == (key.project_id, name.collection_id) and each.job_id
        ]
        if mine:
            latest = max(mine, key=lambda each: each.place)
            return latest.job_pk, latest.job_id or ""
        further = _SELECT_REQUESTED.where(_GRANULE.job_pk < requests[-1].job_pk)
        examined = connection.execute(further, named).all()
    raise GranuleNotFound(*key, *name)

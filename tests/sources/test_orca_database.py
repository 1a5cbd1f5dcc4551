"""ORCA's database as the source reads it: which rows are new, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from orca import ERROR, PENDING, STAGED, SUCCESS, OrcaDatabase, OrcaGranule, orca_granules
from postgres import PostgresServer
from sqlalchemy import event

from jobstatus_grpc.errors import SourceFailed, SourceRefused
from jobstatus_grpc.sources import orca_database
from jobstatus_grpc.sources.orca_database import Mark, Walk
from jobstatus_grpc.sources.orca_values import GranuleRow


@pytest.fixture(params=[True, False], ids=["collections", "no collections"])
def orca(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[OrcaDatabase]:
    database = OrcaDatabase(postgres_server, request.param)
    yield database
    postgres_server.start()
    database.close()


@pytest.fixture
def reader(orca: OrcaDatabase) -> Iterator[orca_database.OrcaDatabase]:
    opened = orca_database.OrcaDatabase(orca.url)
    opened.identify()
    yield opened
    opened.close()


def read(reader: orca_database.OrcaDatabase, job_id: str, since: int) -> tuple[int, Sequence[GranuleRow]]:
    """Return the horizon of a reading, and what is new of a job."""
    with reader.snapshot() as snapshot:
        return snapshot.horizon, snapshot.with_files(snapshot.changed([Mark(job_id, since)]))


def names(rows: Sequence[GranuleRow]) -> list[tuple[str, int]]:
    return [(row.key.granule_id, row.status_id) for row in rows]


def test_a_reading_finds_what_was_created_and_changed_since_the_last(
    orca: OrcaDatabase, reader: orca_database.OrcaDatabase
) -> None:
    first, second = orca_granules("job", 2, 2)
    with orca.writer() as writer:
        writer.create(first)
        writer.create(second)
        horizon, rows = read(reader, "job", 0)
        assert names(rows) == [("g-00000", PENDING), ("g-00001", PENDING)]
        assert [file.filename for file in rows[0].files] == ["f-0", "f-1"]
        horizon, rows = read(reader, "job", horizon)
        assert rows == []
        writer.update(second, "f-0", SUCCESS)
        writer.update(second, "f-1", ERROR, "broken")
        horizon, (row,) = read(reader, "job", horizon)
        assert names([row]) == [("g-00001", ERROR)]
        assert [(file.status_id, file.error_message) for file in row.files] == [(4, None), (3, "broken")]
        assert row.completion_time is not None
        writer.update(second, "no-such-file", SUCCESS)
        writer.update(first, "f-1", STAGED)
        assert names(read(reader, "job", horizon)[1]) in (
            [("g-00000", PENDING)],
            [("g-00000", PENDING), ("g-00001", ERROR)],
        )


def test_a_transaction_that_commits_late_is_found_whatever_was_read_before(
    orca: OrcaDatabase, reader: orca_database.OrcaDatabase
) -> None:
    early, late, part = orca_granules("job", 3, 1)
    with orca.writer() as slow, orca.writer() as quick, orca.writer() as nested:
        slow.create(late, commit=False)
        nested.connection.cursor().execute("select txid_current(); savepoint a")
        nested.create(part, commit=False)
        quick.create(OrcaGranule("other", "c", "g"))
        with reader.snapshot() as snapshot:
            end = snapshot.end
        horizon, rows = read(reader, "job", 0)
        for state in (STAGED, SUCCESS):
            quick.create(OrcaGranule(f"other-{state}", "c", "g"))
        quick.create(early)
        horizon, rows = read(reader, "job", horizon)
        assert names(rows) == [("g-00000", PENDING)]
        nested.commit()
        slow.commit()
        assert {name for name, _ in names(read(reader, "job", horizon)[1])} >= {"g-00001", "g-00002"}
        # Whoever goes on from where the numbers had come to misses both.
        assert names(read(reader, "job", end)[1]) == [("g-00000", PENDING)]


def test_rows_are_found_when_the_numbers_of_transactions_have_begun_anew(
    orca: OrcaDatabase, reader: orca_database.OrcaDatabase
) -> None:
    first, second = orca_granules("job", 2, 1)
    with orca.writer() as writer:
        writer.create(first)
        before, _ = read(reader, "job", 0)
        writer.create(second)
    with reader.snapshot() as snapshot:
        # As it would be some thousand million transactions later: of a row only the lower half is known.
        snapshot.end += 3 * 2**32
        rows = snapshot.changed([Mark("job", before + 3 * 2**32)])
        assert names(rows) == [("g-00001", PENDING)]
        assert snapshot.changed([Mark("job", snapshot.end)]) == []


def test_a_walk_finds_in_parts_what_any_job_has_new(
    orca: OrcaDatabase, reader: orca_database.OrcaDatabase
) -> None:
    granules = [one for number in range(5) for one in orca_granules(f"job-{number}", 3, 1)]
    with orca.writer() as writer:
        for one in granules:
            writer.create(one)

        def walk_on(walk: Walk) -> tuple[Walk, list[tuple[str, str]]]:
            found = []
            while True:
                with reader.snapshot() as snapshot:
                    walk, rows, _ = snapshot.part(walk, 4)
                found += [(row.key.job_id, row.key.granule_id) for row in rows]
                if not walk.after.job_id:
                    return walk, found

        walk, found = walk_on(Walk())
        assert found == [(one.job_id, one.granule_id) for one in granules]
        writer.update(granules[7], "f-0", SUCCESS)
        walk, found = walk_on(walk)
        assert found == [(granules[7].job_id, granules[7].granule_id)]
        assert walk_on(walk_on(walk)[0])[1] == []


def test_jobs_that_are_new_are_found_by_a_walk_over_the_jobs_alone(
    orca: OrcaDatabase, reader: orca_database.OrcaDatabase
) -> None:
    with orca.writer() as writer:
        for number in (1, 3, 5):
            for one in orca_granules(f"job-{number}", 2, 1):
                writer.create(one)
        with reader.snapshot() as snapshot:
            walk, found = snapshot.new_jobs(Walk(), 2)
            assert found == ["job-1", "job-3"]
            walk, found = snapshot.new_jobs(walk, 2)
            assert found == ["job-5"]
        writer.create(OrcaGranule("job-4", "c", "g"))
        with reader.snapshot() as snapshot:
            assert snapshot.new_jobs(walk, 10)[1] == ["job-4"]


@pytest.mark.parametrize("analyze", [True, False])
def test_no_query_reads_a_table_from_end_to_end(postgres_server: PostgresServer, analyze: bool) -> None:
    orca = OrcaDatabase(postgres_server)
    orca.fill(40, 100, 2, analyze=analyze)
    reader = orca_database.OrcaDatabase(orca.url)
    reader.identify()
    plans: list[str] = []

    @event.listens_for(reader._engine, "before_cursor_execute")
    def explain(_conn, cursor, statement, parameters, _context, _many) -> None:  # type: ignore[no-untyped-def]
        if "recovery_" in statement:
            cursor.execute(f"explain {statement}", parameters)
            plans.append("\n".join(row[0] for row in cursor.fetchall()))

    with reader.snapshot() as snapshot:
        marks = [Mark(f"job-{number:08}", snapshot.horizon) for number in range(1, 41)]
        assert snapshot.changed(marks) == []
        part = snapshot.part(Walk(0))
        snapshot.with_files(part.granules)
        snapshot.new_jobs(Walk(), 5000)
    reader.close()
    orca.close()
    assert len(plans) == 4
    for plan in plans:
        assert "Seq Scan" not in plan, plan
        assert "Sort" not in plan, plan
        assert "Index" in plan, plan


def test_what_is_wrong_with_the_database_is_said_in_words(postgres_server: PostgresServer) -> None:
    server = PostgresServer()
    server.start()
    orca = OrcaDatabase(server)
    server.need_password("orca_reader")
    orca_database.OrcaDatabase(orca.url).identify()
    wrong = orca_database.OrcaDatabase(orca.url_of("orca_reader", "wrong"))
    with pytest.raises(SourceRefused, match="password authentication failed"):
        wrong.identify()
    orca.execute("revoke select on orca.recovery_file from orca_reader")
    with pytest.raises(SourceRefused, match="permission denied"):
        orca_database.OrcaDatabase(orca.url).identify()
    orca.execute("drop table orca.recovery_file")
    with pytest.raises(SourceRefused, match=r"no table orca\.recovery_file"):
        orca_database.OrcaDatabase(orca.url).identify()
    server.stop()
    with pytest.raises(SourceFailed, match="does not answer"):
        orca_database.OrcaDatabase(orca.url).identify()
    server.close()

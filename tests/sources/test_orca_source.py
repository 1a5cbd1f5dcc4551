"""Jobs brought in from an ORCA database, live."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from bringing import JOB, bringing, states
from moments import wait_until
from orca import ERROR, PENDING, STAGED, SUCCESS, OrcaDatabase, orca_granules
from postgres import PostgresServer
from stored import first_position, granules, history

from jobstatus_grpc.convert.resources import granule_to_pb
from jobstatus_grpc.model import Granule, GranuleState, JobKey, JobState
from jobstatus_grpc.sources.orca import Standing
from jobstatus_grpc.store.base import JobStore


@pytest.fixture
def orca(postgres_server: PostgresServer) -> Iterator[OrcaDatabase]:
    database = OrcaDatabase(postgres_server)
    yield database
    postgres_server.start()
    database.close()


def state(store: JobStore) -> JobState:
    return store.read_job(JOB).job.state


def test_a_job_is_brought_in_from_its_first_granule_to_its_end(store: JobStore, orca: OrcaDatabase) -> None:
    first, second = orca_granules("job", 2, 2)
    with orca.writer() as writer, bringing(store, orca):
        writer.create(first)
        wait_until(lambda: states(store) == {"g-00000": ("PENDING", 1)}, "the first granule has come")
        writer.create(second)
        writer.update(first, "f-0", SUCCESS)
        writer.update(first, "f-1", STAGED)
        wait_until(lambda: states(store).get("g-00000") == ("STAGED", 1), "it is staged")
        writer.update(first, "f-1", SUCCESS)
        writer.update(second, "f-0", SUCCESS)
        writer.update(second, "f-1", ERROR, "no such key")
        wait_until(lambda: state(store) is JobState.FAILED, "the job has ended")
    job = store.read_job(JOB).job
    assert (job.system, job.job_type, job.granules_complete) == ("orca", "recovery", True)
    done, failed = granules(store, JOB)
    assert (done.state, failed.state) == (GranuleState.SUCCEEDED, GranuleState.FAILED)
    assert failed.error is not None
    assert failed.error.reason == "no such key"
    files = store.read_granule(JOB, failed.key).files
    assert [(file.file_name, file.native_state, file.restore_destination) for file in files] == [
        ("f-0", "success", "destination"),
        ("f-1", "error", "destination"),
    ]
    assert done.request_time == job.begin_time
    assert max(done.end_time or 0, failed.end_time or 0) == job.end_time


def test_a_move_back_is_the_next_attempt(store: JobStore, orca: OrcaDatabase) -> None:
    (granule,) = orca_granules("job", 1, 1)
    with orca.writer() as writer, bringing(store, orca, settle=60):
        writer.create(granule)
        steps = [
            (ERROR, "FAILED", 1),
            (PENDING, "PENDING", 2),
            (STAGED, "STAGED", 2),
            (PENDING, "PENDING", 3),
        ]
        for status_id, name, attempt in [*steps, (SUCCESS, "SUCCEEDED", 3), (ERROR, "FAILED", 4)]:
            writer.update(granule, "f-0", status_id)
            wait_until(lambda: states(store).get("g-00000") == (name, attempt), f"{name}, {attempt}")  # noqa: B023


def test_a_job_that_is_complete_opens_again_when_a_granule_comes(
    store: JobStore, database_url: str, orca: OrcaDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobstatus_grpc.sources.orca_jobs.QUIET_INTERVAL", 0.3)
    first, second, third = orca_granules("job", 3, 1)
    with orca.writer() as writer, bringing(store, orca):
        writer.create(first)
        writer.finish(first)
        wait_until(lambda: bool(states(store)) and state(store) is JobState.SUCCEEDED, "it is complete")
        writer.create(second)
        wait_until(lambda: state(store) is JobState.RUNNING, "it is open again")
        assert store.read_job(JOB).job.end_time is None
        writer.finish(second)
        wait_until(lambda: state(store) is JobState.SUCCEEDED, "it is complete again")
    with orca.writer() as writer:
        writer.create(third)
        writer.finish(third, ERROR, "lost")
    with bringing(store, orca):
        wait_until(lambda: state(store) is JobState.FAILED, "what nobody saw was found")
    job_pk = store.read_job(JOB).job_pk
    log = history(store, job_pk, first_position(database_url, job_pk))
    moves = [change.item for change in log if isinstance(change.item, Granule)]
    assert len({(each.granule_id, each.state, each.attempt) for each in moves}) == len(moves)


def test_what_is_there_already_is_filled_in_and_complete(store: JobStore, orca: OrcaDatabase) -> None:
    orca.fill(3, 2500, 1)
    with bringing(store, orca, settle=5):
        keys = [JobKey("daac", f"job-{number:08}") for number in (1, 2, 3)]

        def done() -> bool:
            found = store.read_jobs(keys)
            return len(found) == 3 and all(each.job.state is JobState.SUCCEEDED for each in found.values())

        wait_until(done, "all is filled in")
    for stored in store.read_jobs(keys).values():
        assert stored.job.totals.succeeded == 2500
        assert (stored.job.end_time or 0) - (stored.job.begin_time or 0) == 3600 * 1_000_000


def test_one_of_several_sources_works_and_another_takes_over(store: JobStore, orca: OrcaDatabase) -> None:
    first, second = orca_granules("job", 2, 1)
    with orca.writer() as writer, bringing(store, orca) as one, bringing(store, orca) as other:
        writer.create(first)
        wait_until(lambda: "g-00000" in states(store), "one brings it in")
        active = [each for each in (one, other) if each._following is not None]
        assert len(active) == 1
        active[0].stop()
        writer.create(second)
        wait_until(lambda: "g-00001" in states(store), "the other has taken over", 10)


def test_a_job_that_somebody_asks_for_is_read_at_once(store: JobStore, orca: OrcaDatabase) -> None:
    (granule,) = orca_granules("job", 1, 1)
    with orca.writer() as writer:
        writer.create(granule)
        with bringing(store, orca, interval=3600) as source:
            wait_until(lambda: bool(states(store)), "it is there")
            writer.update(granule, "f-0", STAGED)
            wait_until(lambda: source._following is not None, "it works")
            source.ask("job")
            wait_until(lambda: states(store)["g-00000"][0] == "STAGED", "it was read", 3)


def test_however_many_ask_it_is_not_read_more_often_than_it_may(store: JobStore, orca: OrcaDatabase) -> None:
    turns: list[Standing] = []
    with bringing(store, orca, turns.append, interval=3600) as source:
        wait_until(lambda: bool(turns) and not turns[-1].filling, "the back-fill has ended")
        before, begun = len(turns), time.monotonic()
        while len(turns) - before < 5:
            source.ask("job")
        # The first may have begun before.
        assert len(turns) - before <= (time.monotonic() - begun) / 0.1 + 1


def test_a_job_that_is_deleted_here_comes_back_whole_when_something_of_it_changes(
    store: JobStore, orca: OrcaDatabase
) -> None:
    five = orca_granules("job", 5, 1)
    with orca.writer() as writer, bringing(store, orca, settle=60):
        for granule in five:
            writer.create(granule)
        wait_until(lambda: len(states(store)) == 5, "all are there")
        store.delete_job(JOB)
        writer.update(five[2], "f-0", STAGED)
        wait_until(lambda: len(states(store)) == 5, "all are there again")
        assert states(store)["g-00002"] == ("STAGED", 1)


def test_an_installation_without_collections_is_brought_in(
    store: JobStore, postgres_server: PostgresServer
) -> None:
    orca = OrcaDatabase(postgres_server, collections=False)
    first, second = orca_granules("job", 2, 2, "")
    with orca.writer() as writer, bringing(store, orca):
        writer.create(first)
        writer.create(second)
        writer.finish(first)
        wait_until(lambda: states(store).get("g-00000") == ("SUCCEEDED", 1), "one has ended")
        writer.finish(second, ERROR, "lost")
        wait_until(lambda: state(store) is JobState.FAILED, "the job has ended")
    assert {granule.collection_id for granule in granules(store, JOB)} == {""}
    orca.close()


def test_what_this_service_does_not_take_is_left_out_and_harms_nothing_else(
    store: JobStore, orca: OrcaDatabase
) -> None:
    good, bad, long = orca_granules("job", 3, 1)
    bad, long = bad._replace(granule_id="a\nb"), long._replace(granule_id="x" * 513)
    with orca.writer() as writer, bringing(store, orca):
        for granule in (bad, good, long):
            writer.create(granule)
        writer.finish(good, ERROR, "why " * 1_000)
        wait_until(lambda: states(store) == {"g-00000": ("FAILED", 1)}, "the good one has ended")
    (brought,) = granules(store, JOB)
    assert brought.error is not None
    assert brought.error.reason == ("why " * 500) + "…"


def test_no_row_of_orca_stops_the_others(store: JobStore, orca: OrcaDatabase) -> None:
    many = orca_granules("many files", 1, 1_001)[0]
    wordy = orca_granules("many words", 1, 300)[0]
    odd, good = orca_granules("job", 2, 1)
    with orca.writer() as writer, bringing(store, orca):
        writer.create(many)
        writer.create(wordy)
        writer.create(odd)
        orca.execute(
            "update orca.recovery_file set status_id = 4 where job_id = 'many files' and filename <> 'f-1000'"
        )
        orca.execute(
            "update orca.recovery_file set status_id = 3, error_message = repeat('\u00e4', 3000) "
            "where job_id = 'many words'"
        )
        orca.execute("update orca.recovery_job set status_id = 3 where job_id = 'many words'")
        orca.execute(
            "update orca.recovery_job set request_time = '-infinity', completion_time = 'infinity' "
            "where job_id = 'job'"
        )
        writer.create(good)
        jobs = [JobKey("daac", name) for name in ("many files", "many words")]
        wait_until(lambda: "g-00001" in states(store), "the good one has come")
        wait_until(lambda: states(store, jobs[0]) == {"g-00000": ("PENDING", 1)}, "one file is pending")
        wait_until(lambda: states(store, jobs[1]) == {"g-00000": ("FAILED", 1)}, "the files have failed")
    first = store.read_granule(JOB, granules(store, JOB)[0].key).granule
    assert first.request_time is not None
    assert granule_to_pb(first).request_time.ToDatetime().year == 1

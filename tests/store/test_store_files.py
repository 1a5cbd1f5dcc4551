"""Files of granules in the store, and a granule read with them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pytest
from reports import FAILED, JOB, PENDING, STAGED, SUCCEEDED, Ledger, granule, job, only
from sqlalchemy import event
from stored import count_rows, first_position, granules, history, run

from jobstatus_grpc.errors import GranuleNotFound, InvalidRequest, JobNotFound
from jobstatus_grpc.model import (
    MAX_GRANULE_FILES,
    FileReport,
    GranuleFile,
    GranuleKey,
    GranuleReport,
    ItemError,
    JobKey,
    Report,
)
from jobstatus_grpc.store import files
from jobstatus_grpc.store.base import FIRST_FILES, FilePlace, JobStore, StoredGranule
from jobstatus_grpc.store.sql import SqlJobStore

G: Final = GranuleKey("c", "g")
NOWHERE: Final = JobKey("default", "")


def plain(read: StoredGranule) -> list[GranuleFile]:
    """Return the files of a granule, whenever they were written."""
    return [file._replace(update_time=0) for file in read.files]


def named(name: str, *files: FileReport, **fields: Any) -> GranuleReport:
    return granule(name, files=files, **fields)


def test_files_come_back_as_they_were_told(store: JobStore) -> None:
    odd = 'quoted "\\" {a,b} ü \U0001f680'
    told = [
        FileReport(odd, FAILED, odd, odd, ItemError(odd, ""), 2**31 - 1, -(2**50), 2**50),
        FileReport("a", native_state="lost", error=ItemError(None, odd)),
        FileReport("NULL"),
    ]
    store.report(job(named("g", *told)))
    read = store.read_granule(JOB, G)
    assert (read.job, read.granule.key) == (JOB, G)
    assert [file.file_name for file in read.files] == ["NULL", "a", odd]
    stored = store.read_job(JOB).job
    assert {file.update_time for file in read.files} == {stored.update_time}
    ledger = Ledger(job(named("g", *told)))
    files = ledger.of().files
    assert files is not None
    assert {file.file_name: file for file in plain(read)} == {
        name: file._replace(update_time=0) for name, file in files.named.items()
    }


def test_a_granule_without_files_is_read_without_any(store: JobStore) -> None:
    store.report(job(granule("g", STAGED, message="m")))
    (only_one,) = granules(store, JOB)
    assert store.read_granule(JOB, G) == StoredGranule(JOB, only_one, ())


def some_reports(key: JobKey, chance: random.Random) -> Iterator[Report]:
    for _ in range(40):
        reported = [
            named(
                f"g{chance.randrange(3)}",
                *[
                    FileReport(
                        name,
                        chance.choice([None, PENDING, STAGED, SUCCEEDED, FAILED]),
                        restore_destination=chance.choice([None, "s3://b"]),
                        error=chance.choice([None, ItemError("E")]),
                        attempt=chance.choice([None, 1, 2]),
                        end_time=chance.choice([None, 1, 2]),
                    )
                    for name in chance.sample("abcd", chance.randrange(3))
                ],
                state=chance.choice([None, STAGED, FAILED]),
                message=chance.choice([None, "m"]),
                document=chance.choice([None, "d"]),
            )
            for _ in range(chance.randrange(1, 4))
        ]
        yield only(*reported, key=key, authoritative=chance.random() < 0.3)


@pytest.mark.parametrize("seed", range(3))
def test_the_store_merges_files_as_the_rule_does_alone_and_together(
    store: JobStore, database_url: str, seed: int
) -> None:
    alone, together = JobKey("p", "alone"), JobKey("p", "together")
    for key in (alone, together):
        store.report(job(key=key))
    ledger = Ledger(job(key=alone))
    chance = random.Random(seed)
    for report in some_reports(alone, random.Random(seed)):
        merged = ledger.take(report)
        result = store.report(report)
        assert result[-3:] == (merged.applied, merged.unchanged, merged.stale)
    reports = list(some_reports(together, random.Random(seed)))
    while reports:
        count = chance.randrange(1, 9)
        assert not [each for each in store.report_all(reports[:count]) if isinstance(each, Exception)]
        reports = reports[count:]
    for key in (alone, together):
        assert store.read_job(key).job.revision == ledger.stands.revision
        for name, held in ledger.granules.items():
            read = store.read_granule(key, name)
            expected = held._replace(files=None, document=None, update_time=0)
            assert read.granule._replace(update_time=0) == expected
            of_files = {} if held.files is None else held.files.named
            assert plain(read) == [of_files[each]._replace(update_time=0) for each in sorted(of_files)]
        assert [each._replace(update_time=0) for each in granules(store, key)] == sorted(
            held._replace(files=None, document=None, update_time=0) for held in ledger.granules.values()
        )


def test_a_change_of_a_file_is_in_the_history_of_its_job(store: JobStore, database_url: str) -> None:
    job_pk = store.report(job(named("g", FileReport("a"), FileReport("b")))).job_pk
    position = store.read_job(JOB).position
    store.report(only(named("g", FileReport("a", SUCCEEDED))))
    (change,) = history(store, job_pk, position)
    assert change.item == store.read_granule(JOB, G).granule
    assert change.previous_state is PENDING
    assert first_position(database_url, job_pk).revision == 1


def test_a_report_beyond_what_a_granule_may_have_writes_nothing(store: JobStore, database_url: str) -> None:
    many = [FileReport(f"{number:04}") for number in range(MAX_GRANULE_FILES)]
    store.report(job(named("g", *many)))
    before = store.read_granule(JOB, G)
    with pytest.raises(InvalidRequest, match="would have more than 1000"):
        store.report(only(named("other", FileReport("a")), named("g", FileReport("more"))))
    assert store.read_granule(JOB, G) == before
    assert run(database_url, "select count(*) from granule_file") == [(MAX_GRANULE_FILES,)]


def test_the_granule_of_a_job_that_is_not_there_and_one_a_job_has_not(store: JobStore) -> None:
    store.report(job(granule("g")))
    with pytest.raises(JobNotFound):
        store.read_granule(JobKey("default", "other"), G)
    with pytest.raises(JobNotFound):
        store.read_granule(JobKey("other", JOB.job_id), G)
    for key in (JOB, NOWHERE):
        with pytest.raises(GranuleNotFound):
            store.read_granule(key, GranuleKey("", "g"))
    with pytest.raises(GranuleNotFound):
        store.read_granule(JobKey("other", ""), G)


def request(store: JobStore, job_id: str, project_id: str = "default", **fields: Any) -> None:
    """Report a job with one granule and one file, which has the job's id for a destination."""
    file = FileReport("f", restore_destination=job_id)
    store.report(job(named("g", file, **fields), key=JobKey(project_id, job_id)))


def latest(store: JobStore, project_id: str = "default", name: GranuleKey = G) -> str:
    """Return the job that requested the granule last."""
    read = store.read_granule(JobKey(project_id, ""), name)
    assert [file.restore_destination for file in read.files] == [read.job.job_id]
    return read.job.job_id


def test_all_files_of_a_job_are_read_in_pages_in_the_order_of_their_names(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_PAGE_FILES", 2)
    store.report(job(named("a", FileReport("y"), FileReport("x")), named("b", FileReport("x"))))
    store.report(job(named("c", FileReport("x")), key=JobKey("default", "another")))
    first = store.read_files(JOB, FIRST_FILES)
    second = store.read_files(JOB, FilePlace("c", "a", "y"))
    found = [[(*key, file.file_name) for key, file in page] for page in (first, second)]
    assert found == [[("c", "a", "x"), ("c", "a", "y")], [("c", "b", "x")]]
    assert store.read_files(JOB, FilePlace("c", "b", "x")) == []
    with pytest.raises(JobNotFound):
        store.read_files(JobKey("default", "nowhere"), FIRST_FILES)


def test_without_a_job_it_is_the_one_that_requested_the_granule_last(store: JobStore) -> None:
    request(store, "first", request_time=2)
    request(store, "earlier", request_time=1)
    assert latest(store) == "first"
    request(store, "untold")
    assert latest(store) == "first"
    request(store, "same", request_time=2)
    assert latest(store) == "same"
    request(store, "foreign", "other", request_time=9)
    assert (latest(store), latest(store, "other")) == ("same", "foreign")
    store.delete_job(JobKey("default", "same"))
    assert latest(store) == "first"
    store.report(only(granule("g", request_time=7), key=JobKey("default", "earlier")))
    assert latest(store) == "earlier"


def test_without_times_it_is_the_job_reported_first_last(store: JobStore) -> None:
    for name in ("one", "two"):
        request(store, name)
    store.report(only(granule("g", message="news"), key=JobKey("default", "one")))
    assert latest(store) == "two"


def test_names_that_are_alike_together_are_told_apart(store: JobStore) -> None:
    names = [GranuleKey("a b", "c"), GranuleKey("a", "b c"), GranuleKey("", "a b c")]
    for number, name in enumerate(names):
        file = FileReport("f", restore_destination=f"{number}")
        store.report(job(GranuleReport(*name, files=[file]), key=JobKey("default", f"{number}")))
    assert [latest(store, name=name) for name in names] == ["0", "1", "2"]


def test_a_granule_that_many_jobs_of_others_have_is_found_behind_them(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = files._SELECT_REQUESTED.limit(3)
    monkeypatch.setattr(files, "_SELECT_REQUESTED", few)
    request(store, "mine")
    for number in range(7):
        request(store, f"{number}", "others")
    assert latest(store) == "mine"


def test_the_files_of_a_deleted_job_are_purged_with_it(store: JobStore, database_url: str) -> None:
    request(store, "kept")
    gone = store.report(job(named("g", FileReport("a"), FileReport("b")), named("h", FileReport("a")))).job_pk
    store.delete_job(JOB)
    assert latest(store) == "kept"
    store.report(job(granule("g")))
    assert store.read_granule(JOB, G).files == ()
    while store.purge():
        pass
    assert set(count_rows(database_url, gone).values()) == {0}
    assert run(database_url, "select restore_destination from granule_file") == [("kept",)]


@contextmanager
def statements(store: JobStore) -> Iterator[list[str]]:
    """Collect what a store sends for its writes."""
    assert isinstance(store, SqlJobStore)
    sent: list[str] = []

    def take(_: object, cursor: object, statement: str, *rest: object) -> None:
        sent.append(statement)

    event.listen(store.writes, "before_cursor_execute", take)
    yield sent
    event.remove(store.writes, "before_cursor_execute", take)


def test_files_cost_a_fixed_number_of_statements_and_only_where_they_are_reported(
    store: JobStore, database_url: str
) -> None:
    names = [f"g{number}" for number in range(100)]
    many = [FileReport(f"f{number}") for number in range(10)]
    store.report(job(granule("plain"), *[named(name, *many) for name in names]))

    def sent(*reported: GranuleReport) -> int:
        with statements(store) as found:
            store.report(only(*reported))
        return len(found)

    without = sent(granule("plain", STAGED))
    # Known files are not read for a report that tells none.
    assert sent(*[granule(name, message="m") for name in names]) == without
    # A new granule's files are written, and those of one that is there are read before.
    write = 1 if database_url.startswith("postgresql") else 2
    assert sent(named("new", *many)) == without + write
    one = sent(named("g0", FileReport("f0", STAGED)))
    assert one == without + 1 + write
    staged: Sequence[GranuleReport] = [
        named(name, *[file._replace(state=SUCCEEDED) for file in many]) for name in names
    ]
    assert sent(*staged) == one
    # What changes nothing writes nothing.
    assert sent(*staged) < without + 1


def test_a_job_of_a_failed_file_tells_why_among_its_failures(store: JobStore) -> None:
    failed = [FileReport("a", FAILED, error=ItemError("E", "torn")), FileReport("b", SUCCEEDED)]
    job_pk = store.report(job(named("g", *failed), named("h", *failed, FileReport("c")))).job_pk
    (reason,) = store.read_failures([job_pk])[job_pk].reasons
    assert (reason.reason, reason.granule_count, reason.samples) == (("E", "torn"), 1, [G])
    store.report(only(named("g", FileReport("a", attempt=2))))
    assert store.read_failures([job_pk])[job_pk].reasons == []

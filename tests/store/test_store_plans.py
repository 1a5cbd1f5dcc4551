"""Size: what a call costs does not depend on how much there is, and no statement reads a whole table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple
from uuid import uuid4

import pytest
from filled import COLLECTION, fill_granules, fill_jobs, name_of
from plans import TABLES, Cost, Explained
from postgres import PostgresServer
from reports import FAILED, PENDING, STAGED, granule
from stored import run

from jobstatus_grpc.model import (
    Details,
    FileReport,
    GranuleKey,
    GranuleReport,
    GranuleState,
    JobKey,
    JobReport,
    JobState,
    Position,
    Report,
)
from jobstatus_grpc.store import open_store, upgrade
from jobstatus_grpc.store.base import (
    FilePlace,
    FirstPage,
    GranuleQuery,
    JobPage,
    JobQuery,
    JobStore,
    StoredJob,
)
from jobstatus_grpc.store.sql import SqlJobStore

# The small one has more of everything than any call looks at: a list looks at 10,000 jobs.
_SMALL: Final = 12_000
_LARGE: Final = 3 * _SMALL
# A level more in an index.
_RATIO: Final = 1.25
_SLACK: Final = 20

_BIG: Final = JobKey("many", "big")
_GONE: Final = JobKey("many", "gone")
_FUTURE: Final = 2**62

_FAILURES: Final = 10


def _failed_name(number: int) -> str:
    """Return the name of a granule that fails, near the end of all."""
    return name_of(_SMALL - 100 * number)


_UNCALLED: Final = {"prepare", "identity", "listen", "close"}


class Filled(NamedTuple):
    """A store with much in it.

    Attributes:
        store: the store.
        size: of everything there are so many: deleted jobs, granules of two jobs, and twice as many jobs in
            each of two projects.
        big: the job with the granules; the other one is deleted.
    """

    store: JobStore
    size: int
    big: StoredJob

    def report(self, count: int, first: int) -> None:
        """Report granules that are there, or, beyond the size, are not."""
        granules = [GranuleReport(COLLECTION, name_of(first + index), STAGED) for index in range(count)]
        assert self.store.report(Report(_BIG, None, granules)).applied >= count

    def read_page(self, after: int | None = None) -> None:
        """Read a page of granules."""
        query = GranuleQuery(1000, None if after is None else GranuleKey(COLLECTION, name_of(after)))
        assert len(self.store.read_page(_BIG, query).granules) == 1000

    def read_failed(self) -> None:
        """Read the few granules that have failed."""
        page = self.store.read_page(_BIG, GranuleQuery(1000, None, [FAILED]))
        assert [one.granule_id for one in page.granules] == sorted(map(_failed_name, range(_FAILURES)))
        assert page.failures is not None
        assert len(page.failures.reasons) == _FAILURES // 2

    def fail(self, state: GranuleState, attempt: int) -> None:
        """Have granules fail, or leave that."""
        granules = [
            GranuleReport(COLLECTION, _failed_name(number), state, attempt=attempt, message=f"{number % 5}")
            for number in range(_FAILURES)
        ]
        assert self.store.report(Report(_BIG, None, granules)).applied == _FAILURES

    def report_files(self, state: GranuleState, *, new: bool = False) -> None:
        """Report files of granules that are there, or are not."""
        kind, first = ("new", 0) if new else ("granule", self.size // 3)
        files = [FileReport(f"{number}", state) for number in range(10)]
        granules = [
            GranuleReport(COLLECTION, name_of(first + index, kind), files=files) for index in range(300)
        ]
        assert self.store.report(Report(_BIG, None, granules)).applied == 300

    def read_granule(self, job_id: str, name: str, files: int = 0) -> None:
        """Read a granule with its files."""
        read = self.store.read_granule(_BIG._replace(job_id=job_id), GranuleKey(COLLECTION, name))
        assert (read.job, len(read.files)) == (_BIG, files)

    def read_files(self) -> None:
        """Read the files of the granules that are new."""
        assert len(self.store.read_files(_BIG, FilePlace(COLLECTION, "new", ""))) == 3000

    def renew_lease(self) -> None:
        """Take a lease that was given back, and keep it."""
        lease = self.store.take_lease("orca", 0)
        assert lease is not None
        self.store.renew_lease(lease, 0, "far")

    def read_beginning(self) -> None:
        """Read the first pages of a snapshot."""
        with self.store.open_snapshot(_BIG) as snapshot:
            assert len(list(islice(snapshot.pages, 3))) == 3

    def read_whole(self) -> None:
        """Read a whole job, and the first of its granules."""
        with self.store.open_whole(_BIG) as whole:
            assert whole.details is not None
            assert len(list(islice(whole.granules, 900))) == 900

    def report_documents(self, text: str) -> None:
        """Report details and documents of the job and of granules that are there."""
        details = Details("sdrs", {"resource_id": text})
        told = JobReport(*_BIG, details=details, document=text)
        granules = [
            GranuleReport(COLLECTION, name_of(self.size // 3 + index), document=text) for index in range(1000)
        ]
        assert self.store.report(Report(_BIG, told, granules)).applied == 1

    def read_changes(self, missed: int) -> None:
        """Read the last changes."""
        position = Position(self.big.job.revision - missed, self.big.commit_id)
        batch = self.store.read_changes(self.big.job_pk, position, missed + 1)
        assert batch is not None
        assert len(batch.changes) == missed

    def list_jobs(self, found: int, before: int | None = None, **filters: Any) -> None:
        """Read a page of a list."""
        assert len(self.store.list_jobs(JobQuery("many", 100, before, **filters)).jobs) == found

    def read_jobs(self) -> None:
        """Read many jobs."""
        keys = [JobKey("many", name_of(number, "old")) for number in range(1, 501)]
        assert len(self.store.read_jobs(keys)) == 500

    def report_together(self) -> None:
        """Report one granule many times, in one transaction."""
        report = Report(_BIG, None, [granule("together", STAGED)])
        assert len(self.store.report_all([report] * 100)) == 100

    def read_first_pages(self) -> None:
        """Read many first pages."""
        wanted = [FirstPage(JobKey("many", name_of(number, "old")), 10) for number in range(1, 101)]
        pages = self.store.read_first_pages([*wanted, FirstPage(_BIG, 10)])
        assert all(isinstance(page, JobPage) for page in pages)

    def read_heads(self) -> None:
        """Read the heads of many jobs."""
        assert len(self.store.read_heads(range(11, 10_011, 2))) == 5000

    def prune_ended(self) -> None:
        """Have a job that has ended, and remove it."""
        key = JobKey("many", "ended")
        job_pk = self.store.report(Report(key, JobReport(*key, state=JobState.FAILED), ())).job_pk
        assert self.store.prune_jobs(_FUTURE, job_pk - 1).removed == 1


# By the method, and what is particular. What removes comes last; the first to be purged is a job with all its
# rows.
_CALLS: Final[Mapping[str, Callable[[Filled], object]]] = {
    "ping": lambda filled: filled.store.ping(),
    "read_clock": lambda filled: filled.store.read_clock(),
    "read_tree": lambda filled: filled.store.read_tree(_BIG),
    "read_first_pages": lambda filled: filled.read_first_pages(),
    "read_job": lambda filled: filled.store.read_job(_BIG),
    "read_jobs": lambda filled: filled.read_jobs(),
    "read_heads": lambda filled: filled.read_heads(),
    "read_page, the first": lambda filled: filled.read_page(),
    "read_page, in the middle": lambda filled: filled.read_page(filled.size // 2),
    "open_snapshot": lambda filled: filled.read_beginning(),
    "list_jobs, the first": lambda filled: filled.list_jobs(100),
    "list_jobs, deep": lambda filled: filled.list_jobs(100, filled.size // 2),
    "list_jobs, behind many deleted": lambda filled: filled.list_jobs(100, 2 * filled.size),
    "list_jobs, a state nobody is in": lambda filled: filled.list_jobs(0, states=[JobState.FAILED]),
    "list_jobs, a label nobody has": lambda filled: filled.list_jobs(0, labels={"k": "v"}),
    "list_jobs, a system nobody has": lambda filled: filled.list_jobs(0, 2 * filled.size, system="s"),
    "read_changes, none missed": lambda filled: filled.read_changes(0),
    "read_changes, 1000 missed": lambda filled: filled.read_changes(1000),
    "report_all": lambda filled: filled.report_together(),
    "report, a granule": lambda filled: filled.report(1, 1),
    "report, 1000 granules": lambda filled: filled.report(1000, filled.size // 2),
    "report, 1000 new granules": lambda filled: filled.report(1000, filled.size + 1),
    "report, details and documents": lambda filled: filled.report_documents("1"),
    "report, details and documents again": lambda filled: filled.report_documents("2"),
    "open_whole": lambda filled: filled.read_whole(),
    "report, granules that fail": lambda filled: filled.fail(FAILED, 1),
    "report, granules that fail again": lambda filled: filled.fail(FAILED, 2),
    "read_page, the failed": lambda filled: filled.read_failed(),
    "read_failures": lambda filled: filled.store.read_failures([filled.big.job_pk]),
    "read_first_pages, of a job with failures": lambda filled: filled.read_first_pages(),
    "report, granules that are tried again": lambda filled: filled.fail(STAGED, 3),
    "report, granules that fail at last": lambda filled: filled.fail(FAILED, 3),
    "report, first files": lambda filled: filled.report_files(PENDING),
    "report, files that are there": lambda filled: filled.report_files(STAGED),
    "report, files again": lambda filled: filled.report_files(FAILED),
    "report, files of new granules": lambda filled: filled.report_files(PENDING, new=True),
    # Rows that were written once: what is left of older versions costs more or less from time to time.
    "read_granule": lambda filled: filled.read_granule(_BIG.job_id, name_of(0, "new"), 10),
    "read_granule, without files": lambda filled: filled.read_granule(_BIG.job_id, name_of(2)),
    "read_granule, of any job": lambda filled: filled.read_granule("", name_of(2)),
    "read_files": lambda filled: filled.read_files(),
    "take_lease": lambda filled: filled.store.take_lease("orca", 0),
    "renew_lease": lambda filled: filled.renew_lease(),
    "prune_changes": lambda filled: filled.store.prune_changes(_FUTURE, filled.big.job_pk - 1),
    "prune_changes, nothing to do": lambda filled: filled.store.prune_changes(_FUTURE, 1),
    "prune_jobs": lambda filled: filled.prune_ended(),
    "prune_jobs, nothing to do": lambda filled: filled.store.prune_jobs(_FUTURE, 1),
    "purge": lambda filled: filled.store.purge(),
    "purge, going on": lambda filled: filled.store.purge(),
    "delete_job": lambda filled: filled.store.delete_job(_BIG),
}


def _fill(url: str, size: int) -> StoredJob:
    """Fill a store, and return the big job."""
    # It has the lowest key, so its rows are the first to be purged.
    gone = fill_granules(url, _GONE, size)
    run(url, f"update job set job_id = null, delete_time = 1 where job_pk = {gone.job_pk}")
    fill_jobs(url, "many", size, "old")
    fill_jobs(url, "many", size, "gone", deleted=True)
    fill_jobs(url, "many", size, "new")
    fill_jobs(url, "late", size)
    big = fill_granules(url, _BIG, size)
    run(url, "insert into job_document (job_pk, document) select job_pk, 'a document' from job")
    return big


def _fill_unseen(url: str, size: int) -> StoredJob:
    for number in range(3):
        fill_granules(url, JobKey("before", f"{number}"), 500)
    run(url, "analyze")
    return _fill(url, size)


def _fill_seen(url: str, size: int) -> StoredJob:
    big = _fill(url, size)
    run(url, "analyze")
    return big


# What the database's statistics know. SQLite has none unless somebody makes some by hand.
_FILLS: Final[Mapping[str, Callable[[str, int], StoredJob]]] = {
    "sqlite, no statistics": _fill,
    "sqlite, statistics": _fill_seen,
    "postgresql, no statistics": _fill,
    "postgresql, statistics from before": _fill_unseen,
    "postgresql, statistics": _fill_seen,
}


@pytest.fixture(scope="module", params=_FILLS)
def costs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, tuple[Cost, Cost]]:
    """What each call costs in a small store, and in a large one."""
    fill = _FILLS[request.param]
    measured = []
    for size in (_SMALL, _LARGE):
        if request.param.startswith("sqlite"):
            url = f"sqlite:///{tmp_path_factory.mktemp('filled')}/jobstatus.db"
            upgrade(url)
            measured.append(_measure(url, size, fill))
            continue
        server: PostgresServer = request.getfixturevalue("postgres_server")
        name = f"jobstatus_{uuid4().hex}"
        server.create_database(name, request.getfixturevalue("postgres_template"))
        # Statistics are the test's affair.
        run(server.url(name), *(f"alter table {table} set (autovacuum_enabled = false)" for table in TABLES))
        measured.append(_measure(server.url(name), size, fill))
        server.drop_database(name)
    small, large = measured
    return {call: (small[call], large[call]) for call in _CALLS}


def _measure(url: str, size: int, fill: Callable[[str, int], StoredJob]) -> Mapping[str, Cost]:
    big = fill(url, size)
    store = open_store(url)
    assert isinstance(store, SqlJobStore)
    explained = Explained(store)
    try:
        store.prepare()
        filled = Filled(store, size, big)
        costs = {}
        for name, call in _CALLS.items():
            explained.take()
            call(filled)
            costs[name] = explained.take()
        return costs
    finally:
        store.close()


@pytest.mark.parametrize("call", _CALLS)
def test_a_call_costs_the_same_in_a_store_three_times_as_large(
    costs: Mapping[str, tuple[Cost, Cost]], call: str
) -> None:
    small, large = costs[call]
    assert large.work <= small.work * _RATIO + _SLACK


@pytest.mark.parametrize("call", _CALLS)
def test_no_statement_reads_a_whole_table_or_sorts(costs: Mapping[str, tuple[Cost, Cost]], call: str) -> None:
    small, large = costs[call]
    assert small.faults + large.faults == []


def test_a_list_of_few_jobs_beside_many_is_read_in_order(postgres_url: str) -> None:
    for project, count in (("many", _SMALL), ("late", _SMALL), ("some", 50), ("tail", 2000)):
        fill_jobs(postgres_url, project, count)
    run(postgres_url, "analyze")
    store = open_store(postgres_url)
    assert isinstance(store, SqlJobStore)
    explained = Explained(store)
    try:
        store.prepare()
        explained.take()
        assert len(store.list_jobs(JobQuery("some", 100)).jobs) == 50
        assert explained.take().faults == []
    finally:
        store.close()


def test_every_method_of_a_store_is_among_these_calls() -> None:
    called = {name.partition(",")[0] for name in _CALLS}
    assert called | _UNCALLED == JobStore.__abstractmethods__

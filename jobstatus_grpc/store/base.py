"""What the service asks of a store. The contract stands here, once; `sql.py` fulfils it."""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager

from jobstatus_grpc.digest import Failures
from jobstatus_grpc.model import (
    GranuleKey,
    JobKey,
    NewsMode,
    Position,
    Report,
    WholeJob,
)
from jobstatus_grpc.store.values import (
    FIRST_FILES,
    FIRST_PAGE_GRANULES,
    ChangeBatch,
    FilePage,
    FilePlace,
    FirstPage,
    GranuleQuery,
    Head,
    Identity,
    JobList,
    JobPage,
    JobQuery,
    Lease,
    News,
    NoPage,
    Pruned,
    ReportOutcome,
    ReportResult,
    Snapshot,
    StoredGranule,
    StoredJob,
    Version,
)

__all__ = [
    "FIRST_FILES",
    "FIRST_PAGE_GRANULES",
    "ChangeBatch",
    "FilePage",
    "FilePlace",
    "FirstPage",
    "GranuleQuery",
    "Head",
    "Identity",
    "JobList",
    "JobPage",
    "JobQuery",
    "JobStore",
    "Lease",
    "News",
    "NewsSource",
    "NoPage",
    "Pruned",
    "ReportOutcome",
    "ReportResult",
    "Snapshot",
    "StoredGranule",
    "StoredJob",
    "Version",
]


class NewsSource(abc.ABC):
    """Hears of commits made by other processes. Used by one thread at a time.

    News may be lost, late or doubled; whoever listens also polls.
    """

    @property
    @abc.abstractmethod
    def mode(self) -> NewsMode:
        """How it hears at this moment."""

    @abc.abstractmethod
    def wait(self, timeout: float) -> News:
        """Return what was heard since the last call, waiting up to `timeout` seconds for it.

        After an interruption in which something may have been missed, says `everything`. Never raises for
        a database that does not answer: it keeps trying, and returns no news meanwhile.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the connection, and end a `wait` in another thread soon."""


class JobStore(abc.ABC):
    """Keeps jobs, their granules and the history of both.

    Every method may be called from any thread, and blocks. A `deadline` is a moment of `time.monotonic()`
    by which the caller wants an answer; `None` is no hurry. Whatever a retry can mend is retried within
    the deadline, two seconds at most.

    Raises, from every method that reads or writes:
        StoreUnavailable: the database did not answer in time, or `prepare` has not succeeded yet.
        DeadlineExceeded: the deadline passed first.
    """

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make sure the schema is there and fits, and learn the store's identity.

        An embedded store migrates itself, whichever process comes first; a server's schema is its
        operator's.

        Raises:
            SchemaMismatch: the schema is not one this program works with; says what to do.
        """

    @property
    @abc.abstractmethod
    def identity(self) -> Identity:
        """Which store it is.

        Raises:
            StoreUnavailable: `prepare` has not succeeded yet.
        """

    @abc.abstractmethod
    def ping(self) -> None:
        """Return if the database answers a query."""

    @abc.abstractmethod
    def report(
        self, report: Report, deadline: float | None = None, lease: Lease | None = None
    ) -> ReportResult:
        """Merge a report into its job, in one transaction, durably.

        Reports of one job are merged one after the other, in the order of their revisions. A report that
        changes nothing leaves the job's revision and commit id as they are. A report whose commit was in
        doubt is taken exactly once.

        Args:
            report: what is reported.
            deadline: the caller's.
            lease: by which right it is reported; nobody else can take it while this is committed.

        Raises:
            LeaseLost: another has taken the lease; nothing was written.
            JobNotFound: the report has no job of its own, and nobody reported the job before.
            InvalidRequest: an item would grow beyond its limit; nothing was written.
            StoreFull: the database is out of space; nothing was written.
        """

    @abc.abstractmethod
    def report_all(
        self, reports: Sequence[Report], deadline: float | None = None, lease: Lease | None = None
    ) -> Sequence[ReportOutcome]:
        """Merge reports of one tree, in their order, as `report` would one by one, but in one transaction.

        Each has its own outcome: the job right after it, or why it alone was refused, which harms no other.
        They share a commit id. Where a commit was in doubt, either all are taken, once, or none.

        Args:
            reports: not empty.
            deadline: of the last of their callers.
            lease: as `report` takes it.

        Returns:
            For each report its result, or the error that `report` would raise for it.

        Raises:
            LeaseLost: another has taken the lease; nothing was written, of any of them.
            StoreFull: the database is out of space; nothing was written, of any of them.
        """

    @abc.abstractmethod
    def take_lease(self, name: str, seconds: float) -> Lease | None:
        """Take a lease for some seconds, by the database's clock, unless another holds it: then `None`."""

    @abc.abstractmethod
    def renew_lease(self, lease: Lease, seconds: float, progress: str | None = None) -> None:
        """Keep a lease for some seconds from now on, or let go of it with 0, and note the progress.

        Raises:
            LeaseLost: another has taken it; nothing was noted.
        """

    @abc.abstractmethod
    def delete_job(self, key: JobKey, deadline: float | None = None) -> int:
        """Delete a job, and return its `job_pk`.

        The ids are free when this returns; rows are removed later, by `purge`.

        Raises:
            JobNotFound: there is no such job.
        """

    @abc.abstractmethod
    def purge(self) -> bool:
        """Remove one batch of rows of deleted jobs; return whether there may be more."""

    @abc.abstractmethod
    def read_clock(self) -> int:
        """Return the time, by the clock that times changes and reports."""

    @abc.abstractmethod
    def prune_changes(self, before: int, after: int = 0, limit: int = 1000) -> Pruned:
        """Remove changes made before a moment from one job's history, the oldest first.

        The latest change of a job stays whatever its age, so its head can always be resumed from. Looks at
        a bounded number of jobs, so a step may remove nothing though later ones will. Any number of
        processes may prune at once, and while jobs are reported and read.

        Args:
            before: the moment; compare `read_clock`. At least a minute ago outside of tests: a report whose
                commit is in doubt looks for its changes.
            after: the `next_after` of the step before; 0 for the first jobs.
            limit: how many changes at most; positive.
        """

    @abc.abstractmethod
    def prune_jobs(self, before: int, after: int = 0, limit: int = 100) -> Pruned:
        """Delete root jobs that have ended, and were last reported before a moment, as `delete_job` does.

        A job that is being reported while this runs is left for another time. Looks at a bounded number of
        jobs, so a step may delete none though later ones will.

        Args:
            before: the moment; compare `read_clock`.
            after: the `next_after` of the step before; 0 for the first jobs.
            limit: how many jobs at most; positive.
        """

    @abc.abstractmethod
    def read_job(self, key: JobKey, deadline: float | None = None) -> StoredJob:
        """Return a job.

        Raises:
            JobNotFound: there is no such job.
        """

    @abc.abstractmethod
    def read_tree(self, key: JobKey, deadline: float | None = None) -> tuple[StoredJob, Sequence[WholeJob]]:
        """Return a job and its sub-jobs with what is below them, without details, all read at one moment.

        Raises:
            JobNotFound: there is no such job.
        """

    @abc.abstractmethod
    def read_jobs(self, keys: Sequence[JobKey], deadline: float | None = None) -> Mapping[JobKey, StoredJob]:
        """Return those of the jobs that exist, all read at one moment.

        A key may be named more than once.
        """

    @abc.abstractmethod
    def read_page(self, key: JobKey, query: GranuleQuery, deadline: float | None = None) -> JobPage:
        """Return a job with its details, its sub-jobs and a page of its granules, read at one revision.

        Raises:
            JobNotFound: there is no such job.
        """

    @abc.abstractmethod
    def read_granule(self, key: JobKey, granule: GranuleKey, deadline: float | None = None) -> StoredGranule:
        """Return a granule with its files, read at one moment.

        Args:
            key: the job; with an empty `job_id` that of the project which requested the granule last: by the
                times of the requests, where they are told, and else by the order in which the jobs were first
                reported. If more than a thousand jobs have the granule, one of the latest is found.
            granule: the granule.
            deadline: as for all methods.

        Raises:
            JobNotFound: there is no such job.
            GranuleNotFound: it has no such granule, or no job of the project has.
        """

    @abc.abstractmethod
    def read_files(self, key: JobKey, after: FilePlace) -> FilePage:
        """Return files of a job with their granules' keys, in the order of both, so many at a time.

        Args:
            key: the job.
            after: the place to begin after; FIRST_FILES begins with the first.

        Raises:
            JobNotFound: there is no such job.
        """

    @abc.abstractmethod
    def read_first_pages(
        self, wanted: Sequence[FirstPage], deadline: float | None = None
    ) -> Sequence[JobPage | NoPage]:
        """Return, for each page asked for, the job with its details and the page, read at one revision.

        All in three statements at most, begun after the call: nothing returned is older than it. Pages of
        more than `FIRST_PAGE_GRANULES` granules, or of very large ones, are not read, and those of jobs with
        failures that change meanwhile need not be. A job may be named more than once.
        """

    @abc.abstractmethod
    def list_jobs(self, query: JobQuery, deadline: float | None = None) -> JobList:
        """Return a page of a project's jobs, newest first in the order they were first reported.

        Examines a bounded number of rows, so a page may be short or empty though others follow.
        """

    @abc.abstractmethod
    def read_changes(
        self, job_pk: int, position: Position, limit: int, deadline: float | None = None
    ) -> ChangeBatch | None:
        """Return the changes after `position`, and the job, read at one moment.

        A history has no position before its first change: it is read from a snapshot on.

        At most `limit`, and about `MAX_FRAME_BYTES` together, but at least one if there is one. `None` if
        the job has been deleted.

        Raises:
            HistoryPruned: `position` lies before the part of the job's history that is still kept.
            HistoryChanged: `position` is not in the job's history.
        """

    @abc.abstractmethod
    def open_snapshot(self, key: JobKey, deadline: float | None = None) -> AbstractContextManager[Snapshot]:
        """Open a job as it is at one revision, for as long as the context lasts.

        The deadline holds for the opening.

        Raises:
            JobNotFound: there is no such job.
        """

    @abc.abstractmethod
    def open_whole(self, key: JobKey, deadline: float | None = None) -> AbstractContextManager[WholeJob]:
        """Open a job with all that is kept of it, as it is at one revision, for as long as the context lasts.

        With its details and its document, and its sub-jobs with theirs, in the order in which they were first
        reported. The granules of each come with their documents, in key order. They are read, some hundreds
        at a time, while they are iterated over, by one thread and only while the context lasts; each
        iteration begins anew.

        All of it is one transaction, which must not wait for anybody: one that asks for nothing for some two
        seconds is taken for broken. The deadline holds for the opening.

        Raises:
            JobNotFound: there is no such job.
            StoreUnavailable: the database went away; also while granules are iterated over.
        """

    @abc.abstractmethod
    def read_heads(self, job_pks: Collection[int]) -> Mapping[int, Head]:
        """Return the heads of those of the jobs that exist."""

    @abc.abstractmethod
    def read_failures(self, job_pks: Collection[int]) -> Mapping[int, Failures]:
        """Return why granules of jobs have failed, of those of the jobs that exist.

        At a cost that does not depend on how many have.
        """

    @abc.abstractmethod
    def listen(self) -> NewsSource:
        """Return a new source of news about commits made by other processes."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of all connections. The store is not used afterwards."""

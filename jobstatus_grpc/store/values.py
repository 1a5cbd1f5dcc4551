"""What is asked of a store, and what it answers: values without behaviour."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from jobstatus_grpc.digest import Failures
from jobstatus_grpc.model import (
    Change,
    Details,
    Granule,
    GranuleFile,
    GranuleKey,
    GranuleState,
    Job,
    JobKey,
    JobState,
    Position,
    Totals,
    WholeJob,
)
from jobstatus_grpc.pace import Pace

# How many granules a page may have that is read together with others'.
FIRST_PAGE_GRANULES: Final = 100


class Identity(NamedTuple):
    """Which store it is. Made with the store, and the same for ever after.

    Attributes:
        store_id: 16 random bytes.
        secret: 32 random bytes that tokens are signed with.
    """

    store_id: bytes
    secret: bytes


class Version(NamedTuple):
    """Which job it is, and at which point of its history: whatever has the same version is the same.

    But for `last_report_time`, which moves outside of the history.
    """

    job_pk: int
    position: Position


class Tally(NamedTuple):
    """What is kept of a job to tell quickly how it gets on.

    Attributes:
        revision: up to which revision of the job the tables of failures have been kept.
        pace: how many granules have ended lately; `None` before the first has.
    """

    revision: int
    pace: Pace | None = None


class StoredJob(NamedTuple):
    """A job's row.

    Attributes:
        job_pk: the row's key; never given to another job, even after a deletion.
        commit_id: of the transaction that made the job's latest revision.
        last_report_time: when a report last arrived, changing something or not; known to the second.
        job: the job.
        root_pk: the row of the root of its tree; its own if it is the root.
        tally: what is kept of it besides; `None` before a program that keeps it has written the job.
    """

    job_pk: int
    commit_id: int
    last_report_time: int
    job: Job
    root_pk: int
    tally: Tally | None = None

    @property
    def position(self) -> Position:
        """The head of the job's history."""
        return Position(self.job.revision, self.commit_id)

    @property
    def version(self) -> Version:
        """The job at the head of its history."""
        return Version(self.job_pk, self.position)

    @property
    def pace(self) -> Pace | None:
        """How many of its granules have ended lately."""
        return None if self.tally is None else self.tally.pace

    @property
    def tells_failures(self) -> bool:
        """Whether the tables of failures are as the job is.

        They are not where a program of an older version has written the job last.
        """
        return self.tally.revision == self.job.revision if self.tally else not self.job.totals.failed

    @property
    def has_failures(self) -> bool:
        """Whether granules of it have failed, and it can be told why."""
        return self.job.totals.failed > 0 and self.tells_failures


class Head(NamedTuple):
    """As much of a job's row as tells whether there is something new."""

    position: Position
    last_report_time: int


class GranuleQuery(NamedTuple):
    """Which granules of a job a page holds.

    Attributes:
        limit: how many at most; 0 for the job alone.
        after: the last key of the page before; `None` for the first page.
        states: only granules in one of these; empty for all.
    """

    limit: int
    after: GranuleKey | None = None
    states: Collection[GranuleState] = ()


class JobPage(NamedTuple):
    """A job and one page of its granules, read at one revision.

    Attributes:
        stored: the job.
        granules: in key order, together at most `MAX_FRAME_BYTES`.
        more: whether others follow.
        sub_jobs: the job's parts with their details, without granules, in the order in which they were first
            reported.
        details: the job's.
        failures: why granules have failed; `None` if none has, and on later pages than the first.
    """

    stored: StoredJob
    granules: Sequence[Granule]
    more: bool
    sub_jobs: Sequence[WholeJob] = ()
    details: Details | None = None
    failures: Failures | None = None


class StoredGranule(NamedTuple):
    """A granule with its files, read at one moment.

    Attributes:
        job: the job it is of.
        granule: the granule.
        files: all of its files, in the order of their names' bytes.
    """

    job: JobKey
    granule: Granule
    files: Sequence[GranuleFile] = ()


class FilePlace(NamedTuple):
    """The place of a file among all of its job."""

    collection_id: str
    granule_id: str
    file_name: str


FIRST_FILES: Final = FilePlace("", "", "")
FilePage: TypeAlias = Sequence[tuple[GranuleKey, GranuleFile]]


class FirstPage(NamedTuple):
    """A first page that is asked for, of all granules of a job.

    Attributes:
        key: the job.
        limit: how many granules at most; 0 for the job alone.
        held: the version of which the caller has the page already; `None` for none.
    """

    key: JobKey
    limit: int
    held: Version | None = None


class NoPage(Enum):
    """Why there is no page."""

    NO_JOB = "no job"  #: There is no such job.
    HELD = "held"  #: The job is at the version the caller has the page of.
    LARGE = "large"  #: It is not for reading together with others: `read_page` reads it.


class JobQuery(NamedTuple):
    """Which jobs of a project a page holds.

    Attributes:
        project_id: the project.
        limit: how many at most; positive.
        before: the `next_before` of the page before; `None` for the first page.
        states: only jobs in one of these; empty for all.
        system: only jobs of this system; empty for all.
        job_type: only jobs of this type; empty for all.
        labels: only jobs with all of these; empty for all.
        parent_job_id: the job whose direct sub-jobs are listed, in the order they were first reported the
            other way round; empty for jobs that are no parts of others.
    """

    project_id: str
    limit: int
    before: int | None = None
    states: Collection[JobState] = ()
    system: str = ""
    job_type: str = ""
    labels: Mapping[str, str] = {}
    parent_job_id: str = ""


class JobList(NamedTuple):
    """One page of a project's jobs.

    Attributes:
        jobs: newest first, together at most `MAX_FRAME_BYTES`.
        next_before: where the next page begins; `None` on the last.
    """

    jobs: Sequence[Job]
    next_before: int | None


class ChangeBatch(NamedTuple):
    """A part of a job's history, and the job at its head, read at one moment.

    Attributes:
        stored: the job.
        totals: the totals at the position asked for.
        changes: the changes after the position asked for, consecutive, oldest first.
    """

    stored: StoredJob
    totals: Totals
    changes: Sequence[Change]


class Snapshot(NamedTuple):
    """The whole of a job at one revision.

    Attributes:
        stored: the job.
        pages: all its granules, in key order, in pages of at most 300; to be read only while the snapshot
            is open.
        sub_jobs: the job's parts, without granules, in the order in which they were first reported.
    """

    stored: StoredJob
    pages: Iterator[Sequence[Granule]]
    sub_jobs: Sequence[WholeJob] = ()


class ReportResult(NamedTuple):
    """What became of a report: the job right after it, and how its items fared.

    Attributes:
        job_pk: the job's row.
        position: the job's head.
        totals: the job's totals.
        state: the job's state.
        root: the root of the job's tree.
        grown: the jobs whose history the report has made longer, the job's own and those above and below,
            with their rows; empty if it changed nothing.
        applied: how many items changed something.
        unchanged: how many said what was known.
        stale: how many came too late.
    """

    job_pk: int
    position: Position
    totals: Totals
    state: JobState
    root: JobKey
    grown: Mapping[JobKey, int]
    applied: int
    unchanged: int
    stale: int

    @property
    def changed(self) -> bool:
        """Whether the report made any revision."""
        return bool(self.grown)


class Lease(NamedTuple):
    """The right of one process to write what a source tells, until another takes it.

    Attributes:
        name: of what is brought in.
        number: which lease of that name it is; each is greater than the one before.
        progress: what the last holder has noted; empty if nothing.
    """

    name: str
    number: int
    progress: str = ""


ReportOutcome: TypeAlias = ReportResult | Exception
"""What became of one of several reports."""


class Pruned(NamedTuple):
    """What one step of a walk over all jobs, in the order of their `job_pk`, has removed.

    Attributes:
        removed: how many changes, or jobs.
        next_after: where the next step goes on; `None` if every job has been looked at.
    """

    removed: int
    next_after: int | None


class News(NamedTuple):
    """Which jobs may have changed: a hint, never the truth.

    Attributes:
        job_pks: these.
        everything: any job may have; `job_pks` then says nothing.
    """

    job_pks: frozenset[int] = frozenset()
    everything: bool = False

    def __bool__(self) -> bool:
        return self.everything or bool(self.job_pks)

"""Jobs, granules and their changes, as the service thinks of them: immutable values, no behaviour.

Times are integer microseconds since 1970-01-01 UTC. `None` is "never reported"; an empty string was
reported so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias, Union

DEFAULT_PROJECT: Final = "default"

MAX_ID_BYTES: Final = 512
MAX_GRANULE_BYTES: Final = 16 * 1024
#: Files of one granule.
MAX_GRANULE_FILES: Final = 1_000
#: What they take together, by `file_bytes`.
MAX_FILES_BYTES: Final = 512 * 1024
MAX_JOB_BYTES: Final = 512 * 1024
MAX_REPORT_GRANULES: Final = 10_000
MAX_REPORT_BYTES: Final = 4 * 1024 * 1024
MAX_FRAME_BYTES: Final = 1024 * 1024
MAX_ATTEMPT: Final = 2**31 - 1
#: Jobs of one tree, its root among them.
MAX_TREE_JOBS: Final = 1_000
#: Levels of one tree, the root's the first.
MAX_TREE_DEPTH: Final = 8

#: A value of a job's details: texts, whole numbers and truth values, in lists and by names.
DetailValue: TypeAlias = Union[str, int, bool, "Sequence[DetailValue]", "Mapping[str, DetailValue]"]


class JobState(IntEnum):
    """How a job stands. The numbers are those of the wire."""

    UNSPECIFIED = 0  #: The system's word has no counterpart here; open.
    PENDING = 1  #: Nothing has moved yet.
    RUNNING = 2  #: Under way.
    SUCCEEDED = 3  #: Ended, all of it well.
    FAILED = 4  #: Ended, some of it wrong.

    @property
    def terminal(self) -> bool:
        """Whether the job has ended."""
        return self >= JobState.SUCCEEDED


class GranuleState(IntEnum):
    """How a granule stands. The numbers are those of the wire."""

    UNSPECIFIED = 0  #: The system's word has no counterpart here; open.
    PENDING = 1  #: Nothing has been done yet.
    STAGED = 2  #: Out of the archive, not yet at its destination.
    SUCCEEDED = 3  #: At its destination.
    FAILED = 4  #: Given up.


class NewsMode(Enum):
    """How a process hears of commits made by other processes."""

    NOTIFY = "notify"  #: The database tells it.
    POLL = "poll"  #: It asks the database.


class Delivery(IntEnum):
    """How a watch delivers changes. The numbers are those of the wire."""

    EVERY_CHANGE = 1  #: Each one, as soon as it is committed.
    LATEST = 2  #: At a pace: each granule that changed once, as it is now.
    NONE = 3  #: At a pace: the job's own changes and the totals, no granules.


class JobKey(NamedTuple):
    """The name of a job."""

    project_id: str
    job_id: str


class GranuleKey(NamedTuple):
    """The name of a granule within its job. Ordered by bytes, as the store orders them."""

    collection_id: str
    granule_id: str


class Position(NamedTuple):
    """A point in the history of a job.

    The revision says how far; the commit id, random for every write transaction, says in which history:
    two databases that went different ways share revisions, but no commit id.
    """

    revision: int
    commit_id: int


class ItemError(NamedTuple):
    """Why an item failed, in its system's terms."""

    code: str | None = None
    reason: str | None = None


class Totals(NamedTuple):
    """How many granules a job has in each state, in the order of `GranuleState`'s numbers."""

    unspecified: int = 0
    pending: int = 0
    staged: int = 0
    succeeded: int = 0
    failed: int = 0


class Details(NamedTuple):
    """What a system tells of its jobs that not all jobs have.

    Attributes:
        system: whose job it is: `orca`, `sdrs`, `sfs_turbo` or `glacier`.
        fields: what is told, by the names of that system's message in the contract; what is not told is not
            there.
    """

    system: str
    fields: Mapping[str, DetailValue]


class JobDocument(NamedTuple):
    """What is kept of a job beside its own fields.

    Attributes:
        details: its details; `None` if nobody reported any.
        document: its source document, as `JobReport.document` has it.
    """

    details: Details | None = None
    document: str | None = None


class SubJobs(NamedTuple):
    """How a job's direct sub-jobs stand, in the order of `JobState`'s numbers, and how large its tree is.

    Attributes:
        unspecified, pending, running, succeeded, failed: how many direct sub-jobs are in that state.
        tree_count: of a root: how many jobs its tree has below it.
        tree_bytes: of a root: how many bytes their own fields take, by `own_bytes`.
    """

    unspecified: int = 0
    pending: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    tree_count: int = 0
    tree_bytes: int = 0

    @property
    def direct(self) -> int:
        """How many direct sub-jobs there are."""
        return self.unspecified + self.pending + self.running + self.succeeded + self.failed


class GranuleFile(NamedTuple):
    """A file of a granule as it stands.

    Attributes:
        file_name: its name within its granule.
        state: how it stands, in the words for granules.
        native_state: its system's own word for that.
        restore_destination: where its system puts it.
        error: why it failed.
        attempt: which try at it this is, counted from 1.
        request_time: when it was asked for.
        end_time: when the work on it ended.
        update_time: when its latest change was committed.
    """

    file_name: str
    state: GranuleState
    native_state: str | None
    restore_destination: str | None
    error: ItemError | None
    attempt: int
    request_time: int | None
    end_time: int | None
    update_time: int


class FileReport(NamedTuple):
    """What a reporter says about a file of a granule; `None` is "no news"."""

    file_name: str
    state: GranuleState | None = None
    native_state: str | None = None
    restore_destination: str | None = None
    error: ItemError | None = None
    attempt: int | None = None
    request_time: int | None = None
    end_time: int | None = None


class FileTally(NamedTuple):
    """What all files of a granule come to, so that a report needs to know but those it is about.

    Attributes:
        pending, staged, failed, succeeded: how many are in that state; among the staged those whose system's
            word has no counterpart here.
        attempt: the greatest of theirs.
        total_bytes: what they take together, by `file_bytes`.
        request_time: the earliest that any of them has had.
        end_time: the latest that any of them has had.
        named: those of them that are reported on, by their names.
    """

    pending: int = 0
    staged: int = 0
    failed: int = 0
    succeeded: int = 0
    attempt: int = 1
    total_bytes: int = 0
    request_time: int | None = None
    end_time: int | None = None
    named: Mapping[str, GranuleFile] = MappingProxyType({})

    @property
    def total(self) -> int:
        """How many files there are."""
        return self.pending + self.staged + self.failed + self.succeeded

    @property
    def state(self) -> GranuleState:
        """The least of theirs, in the order in which they are counted here. There is at least one file."""
        if self.pending:
            return GranuleState.PENDING
        if self.staged:
            return GranuleState.STAGED
        return GranuleState.FAILED if self.failed else GranuleState.SUCCEEDED


class Granule(NamedTuple):
    """A granule as it stands.

    `document` is what a source's entry has beyond these fields, in the words of `formats`, which alone reads
    it; `None` if it has nothing, and wherever granules are read for another end than to be merged or written
    as a document. `files` is what its files come to; `None` if it has none, and wherever granules are read
    for another end than to be merged.
    """

    collection_id: str
    granule_id: str
    state: GranuleState
    native_state: str | None
    attempt: int
    error: ItemError | None
    message: str | None
    request_time: int | None
    end_time: int | None
    update_time: int
    revision: int
    document: str | None = None
    files: FileTally | None = None

    @property
    def key(self) -> GranuleKey:
        """Its name within its job."""
        return GranuleKey(self.collection_id, self.granule_id)


class GranuleReport(NamedTuple):
    """What a reporter says about a granule; `None` is "no news", and an empty `document` removes it.

    Files that are not told stay as they are. Of a granule with files the state and the attempt follow from
    them, so a state and a native state told of it are ignored, and an attempt other than theirs makes the
    other fields told of it stale.
    """

    collection_id: str
    granule_id: str
    state: GranuleState | None = None
    native_state: str | None = None
    attempt: int | None = None
    error: ItemError | None = None
    message: str | None = None
    request_time: int | None = None
    end_time: int | None = None
    document: str | None = None
    files: Sequence[FileReport] = ()

    @property
    def key(self) -> GranuleKey:
        """Its name within its job."""
        return GranuleKey(self.collection_id, self.granule_id)


class Job(NamedTuple):
    """A job as it stands, without its granules.

    `state_reported`, `begin_time_reported` and `end_time_reported` tell what a reporter said from what was
    derived from the granules and sub-jobs. `parent_job_id` is the job of the same project it is a part of.
    `details_bytes` is what its details take, by the function of that name; 0 if it has none.
    """

    project_id: str
    job_id: str
    system: str | None
    job_type: str | None
    state: JobState
    native_state: str | None
    attempt: int
    description: str | None
    message: str | None
    error: ItemError | None
    create_time: int
    begin_time: int | None
    end_time: int | None
    update_time: int
    totals: Totals
    granules_complete: bool
    labels: Mapping[str, str]
    revision: int
    state_reported: bool
    begin_time_reported: bool
    end_time_reported: bool
    parent_job_id: str | None = None
    sub_jobs: SubJobs = SubJobs()
    details_bytes: int = 0

    @property
    def key(self) -> JobKey:
        """Its name."""
        return JobKey(self.project_id, self.job_id)


class JobReport(NamedTuple):
    """What a reporter says about a job; `None` (and no labels) is "no news".

    Attributes:
        parent_job_id: the job of the same project it is a part of; told when it is first reported.
        details: replace those it had, as a whole.
        document: the source document without granules and sub-jobs, in the words of `formats`, which alone
            reads it; replaces the one it had.
        sub_jobs: its parts, in order; their `parent_job_id` is this job.
        emptied: fields of this report, all `None` here, that a document tells to be empty: they become
            `None`.
    """

    project_id: str
    job_id: str
    system: str | None = None
    job_type: str | None = None
    state: JobState | None = None
    native_state: str | None = None
    attempt: int | None = None
    description: str | None = None
    message: str | None = None
    error: ItemError | None = None
    begin_time: int | None = None
    end_time: int | None = None
    granules_complete: bool | None = None
    labels: Mapping[str, str] | None = None
    parent_job_id: str | None = None
    details: Details | None = None
    document: str | None = None
    sub_jobs: Sequence[JobReport] = ()
    emptied: frozenset[str] = frozenset()

    @property
    def key(self) -> JobKey:
        """Its name."""
        return JobKey(self.project_id, self.job_id)


class WholeJob(NamedTuple):
    """A job with all that is kept of it, read at one revision: what a document is written from.

    Attributes:
        job: the job's own fields and totals.
        details: its details.
        document: its source document, as it was reported.
        granules: its granules with their documents, ordered by key; may be read while they are asked for.
        sub_jobs: its parts in the order in which they were first reported.
    """

    job: Job
    details: Details | None = None
    document: str | None = None
    granules: Iterable[Granule] = ()
    sub_jobs: Sequence[WholeJob] = ()


class Report(NamedTuple):
    """What one call reports, committed whole or not at all.

    `job` is `None` where only granules are reported, of a job that must exist. `authoritative` marks its
    system's truth when taken: a state the merge would refuse at the item's attempt is its next attempt.
    """

    key: JobKey
    job: JobReport | None
    granules: Sequence[GranuleReport]
    authoritative: bool = False


class SubJob(NamedTuple):
    """A job as the history of a job above it has it."""

    job: Job


class Change(NamedTuple):
    """One change of a job's history: the item as it was after it, and the totals after it.

    The item is a granule of the job, the job itself, or a job below it.
    """

    revision: int
    commit_id: int
    change_time: int
    item: Granule | Job | SubJob
    previous_state: GranuleState | None
    totals: Totals

    @property
    def position(self) -> Position:
        """Where in the history it stands."""
        return Position(self.revision, self.commit_id)


def sub_job_id(parent_job_id: str, position: int) -> str:
    """Return the id of a sub-job whose system gives it none: the same whenever its parent is reported.

    Args:
        parent_job_id: the parent's id.
        position: its place among the parent's sub-jobs, counted from 1.
    """
    suffix = f".{position}"
    if text_bytes(parent_job_id) + len(suffix) > MAX_ID_BYTES:
        parent_job_id = hashlib.blake2b(parent_job_id.encode(), digest_size=16).hexdigest()
    return parent_job_id + suffix


def text_bytes(text: str | None) -> int:
    """Return how many bytes `text` takes as UTF-8; 0 for `None`."""
    if text is None:
        return 0
    return len(text) if text.isascii() else len(text.encode())

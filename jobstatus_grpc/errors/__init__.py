"""What can go wrong, in the service's own words.

JobStatusError
├── InvalidRequest           the caller's words are wrong; names every fault
│   ├── PageTokenInvalid
│   └── ResumeTokenInvalid
├── NotFound
│   ├── JobNotFound
│   ├── GranuleNotFound
│   └── JobDeleted           it was there, and is no more
├── PreconditionFailed       the thing is not as the request needs it; names everything in the way
│   ├── ParentConflict       a job cannot become a part of another
│   ├── NotARoot             only a whole tree can be deleted
│   └── NotRepresentable     a form has no words for what a job is
├── Unauthenticated          nobody knows who calls
│   ├── CredentialsMissing
│   ├── CredentialsInvalid
│   └── CredentialsExpired
├── PermissionDenied         the caller is known, and may not do this
│   ├── ScopeMissing
│   └── ProjectForbidden
├── ResourceExhausted
│   ├── QuotaReached         some will go: trying again helps
│   │   ├── TooManyReports
│   │   ├── TooManyTransfers documents on their way in or out
│   │   └── TooManyWatches
│   ├── ResponseFull         some of what was asked for has to be asked for again
│   └── StoreFull
├── Unavailable              trying again helps
│   ├── StoreUnavailable
│   ├── ServerDraining
│   ├── StreamExpired
│   ├── WatcherTooSlow       its client has stopped reading
│   ├── ClientTooSlow        it neither sends a document's next part nor reads it
│   └── CallInterrupted
├── DeadlineExceeded
├── NotServed                the server has no such method
├── SchemaMismatch           the operator's to mend; never reaches a caller
├── ConfigInvalid            the operator's to mend; names every fault
├── ListenFailed             the operator's to mend
├── LeaseLost                a source has to stop writing; never reaches a caller
├── SourceFailed             a system that jobs are brought from cannot be read
│   └── SourceRefused        not before its operator mends something
└── HistoryChanged           the watch answers it with a reset; never reaches a caller
    └── HistoryPruned        it was the history, and is no longer kept

`reason` is the machine-readable half, `metadata` the variable words of the message. What a caller gets for
each stands in one table, in `status.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobstatus_grpc.errors.base import INVALID, MISSING, JobStatusError, Violation
from jobstatus_grpc.errors.missing import GranuleNotFound, JobDeleted, JobNotFound, NotFound, job_resource

__all__ = [
    "INVALID",
    "MISSING",
    "GranuleNotFound",
    "JobDeleted",
    "JobNotFound",
    "JobStatusError",
    "NotFound",
    "Violation",
]


class InvalidRequest(JobStatusError):
    """The request breaks the contract; nothing was written.

    Attributes:
        violations: every fault found, never empty.
    """

    reason = INVALID

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{first.field}: {first.description}{more}", {"field": first.field})
        self.violations = tuple(violations)
        if self.reason == INVALID and all(violation.reason == MISSING for violation in violations):
            self.reason = MISSING


class PageTokenInvalid(InvalidRequest):
    """The page token is broken, foreign, or belongs to another query."""

    reason = "PAGE_TOKEN_INVALID"


class ResumeTokenInvalid(InvalidRequest):
    """The resume token is broken, foreign, or belongs to another job."""

    reason = "RESUME_TOKEN_INVALID"


class PreconditionFailed(JobStatusError):
    """What the request is about is not as it would have to be.

    Attributes:
        violations: everything in the way, never empty: what it is of, and why.
    """

    def __init__(self, message: str, violations: Sequence[Violation], metadata: Mapping[str, str]) -> None:
        super().__init__(message, metadata)
        self.violations = tuple(violations)


class ParentConflict(PreconditionFailed):
    """A job is reported under another parent than it was first reported under."""

    reason = "PARENT_CONFLICT"

    def __init__(self, project_id: str, job_id: str) -> None:
        _, name, metadata = job_resource(project_id, job_id)
        text = "was first reported under another parent, or under none; a parent never changes"
        message = f"job '{job_id}' in project '{project_id}' {text}"
        super().__init__(message, [Violation(name, text)], metadata)


class NotARoot(PreconditionFailed):
    """A job is a part of another, with which alone it can be deleted."""

    reason = "NOT_A_ROOT"

    def __init__(self, project_id: str, job_id: str, root_id: str) -> None:
        _, name, metadata = job_resource(project_id, job_id)
        text = f"is a part of job '{root_id}', with which alone it can be deleted"
        message = f"job '{job_id}' in project '{project_id}' {text}"
        super().__init__(message, [Violation(name, text)], {**metadata, "root_job_id": root_id})


class NotRepresentable(PreconditionFailed):
    """A system's form has no words for something that the job is or has.

    Args:
        form: the form's name.
        violations: what it cannot express, each by the field of the job.
    """

    reason = "NOT_REPRESENTABLE"

    def __init__(self, form: str, violations: Sequence[Violation]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        message = f"the form '{form}' cannot express the job: {first.field}: {first.description}{more}"
        super().__init__(message, violations, {"form": form, "field": first.field})


class Unauthenticated(JobStatusError):
    """Nobody knows who calls.

    Attributes:
        why: what is wrong with the credentials: for the log alone.
    """

    def __init__(self, why: str = "") -> None:
        super().__init__()
        self.why = why or self.words


class CredentialsMissing(Unauthenticated):
    """The call brings none."""

    reason, words = "CREDENTIALS_MISSING", "the call brings no credentials"


class CredentialsInvalid(Unauthenticated):
    """They are none, or not for this service."""

    reason, words = "CREDENTIALS_INVALID", "the credentials are not valid here"


class CredentialsExpired(Unauthenticated):
    """They were good once; a stream ends with it when its own are no longer."""

    reason, words = "CREDENTIALS_EXPIRED", "the credentials have expired: call again with new ones"


class PermissionDenied(JobStatusError):
    """The caller is known, and may not do this. Decided without a look at what is there."""


class ScopeMissing(PermissionDenied):
    """The caller may not call this method.

    Args:
        scope: what it would take.
    """

    reason = "SCOPE_MISSING"

    def __init__(self, scope: str) -> None:
        super().__init__(f"the credentials lack the scope {scope}", {"scope": scope})


class ProjectForbidden(PermissionDenied):
    """The caller may not see the project, whether it exists or not."""

    reason = "PROJECT_FORBIDDEN"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"the credentials are not for project '{project_id}'", {"project_id": project_id})


class ResourceExhausted(JobStatusError):
    """A limit is reached."""


class QuotaReached(ResourceExhausted):
    """As many of a kind are there as may be.

    Attributes:
        subject: the kind.
        retry_delay: seconds within which some of them will have gone.
    """

    subject = ""
    retry_delay = 1.0


class TooManyReports(QuotaReached):
    """Too many reports of one job wait for their turn."""

    reason = "TOO_MANY_REPORTS"
    subject = "reports of one job"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} reports of this job are waiting already", {"limit": str(limit)})


class TooManyTransfers(QuotaReached):
    """Too many documents are on their way in and out."""

    reason = "TOO_MANY_TRANSFERS"
    subject = "imports and exports of one server"
    retry_delay = 2.0

    def __init__(self, limit: int) -> None:
        text = f"{limit} documents are on their way in or out of this server already"
        super().__init__(text, {"limit": str(limit)})


class TooManyWatches(QuotaReached):
    """Too many watches are open, of one project or together.

    Args:
        limit: how many there may be.
        project_id: the project that has them; `None` if it is all projects together.
    """

    reason = "TOO_MANY_WATCHES"
    # Watches last: there is no point in asking as often as reports do.
    retry_delay = 10.0

    def __init__(self, limit: int, project_id: str | None = None) -> None:
        if project_id is None:
            super().__init__(f"this server has {limit} watches already", {"limit": str(limit)})
            self.subject = "watches of one server"
        else:
            super().__init__(
                f"project '{project_id}' has {limit} watches on this server already",
                {"limit": str(limit), "project_id": project_id},
            )
            self.subject = "watches of one project on one server"


class ResponseFull(ResourceExhausted):
    """The response has no room for this one; asked for again, it is among the first."""

    reason = "RESPONSE_FULL"
    words = "the response is full: ask for this one again"


class StoreFull(ResourceExhausted):
    """The database's disk is full; reads go on."""

    reason = "STORE_FULL"
    words = "the database is out of space"


class Unavailable(JobStatusError):
    """It does not work now; the same call may work later.

    Attributes:
        retry_delay: seconds after which to try again.
    """

    retry_delay = 1.0


class StoreUnavailable(Unavailable):
    """The database does not answer, or is too busy."""

    reason = "STORE_UNAVAILABLE"
    words = "the database does not answer"


class ServerDraining(Unavailable):
    """The server is stopping; another one, or the next, will answer."""

    reason = "SERVER_DRAINING"
    words = "the server is stopping"


class StreamExpired(Unavailable):
    """The stream has reached its maximum age."""

    reason = "STREAM_EXPIRED"
    words = "the stream has reached its maximum age: watch again from the last resume token"
    retry_delay = 0.1


class WatcherTooSlow(Unavailable):
    """The client has stopped reading, and the server has let go of its stream."""

    reason = "WATCHER_TOO_SLOW"
    words = "the client has stopped reading: watch again from the last resume token"


class ClientTooSlow(Unavailable):
    """The client has neither sent the next part of a document, nor read it."""

    reason = "CLIENT_TOO_SLOW"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing has come or gone for {seconds:g} s: send, or ask for, the document again")


class CallInterrupted(Unavailable):
    """The server gave the call up for reasons of its own."""

    reason = "CALL_INTERRUPTED"
    words = "the server interrupted the call"


class DeadlineExceeded(JobStatusError):
    """The caller's deadline passed before the work was done."""

    reason = "DEADLINE_EXCEEDED"
    words = "the deadline passed before the work was done"


class NotServed(JobStatusError):
    """The server has no such method."""

    reason = "UNIMPLEMENTED"

    def __init__(self, method: str) -> None:
        super().__init__(f"this server does not serve {method}", {"method": method})


class SchemaMismatch(JobStatusError):
    """The database's schema is not one this program can work with."""

    reason = "SCHEMA_MISMATCH"


class ConfigInvalid(JobStatusError):
    """The configuration is wrong; nothing was started.

    Attributes:
        violations: every fault found, never empty; none repeats the value of a secret.
    """

    reason = "CONFIG_INVALID"

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.description}" for fault in violations))
        self.violations = tuple(violations)


class ListenFailed(JobStatusError):
    """The address cannot be bound: it is taken, or not ours."""

    reason = "LISTEN_FAILED"

    def __init__(self, address: str) -> None:
        super().__init__(f"cannot listen on {address}: is another server running there?")


class LeaseLost(JobStatusError):
    """Another process brings these jobs in now; nothing was written."""

    reason = "LEASE_LOST"

    def __init__(self, name: str) -> None:
        super().__init__(f"another process has taken over {name}")


class SourceFailed(JobStatusError):
    """A system that jobs are brought from does not answer; trying again helps."""

    reason = "SOURCE_FAILED"


class SourceRefused(SourceFailed):
    """A system that jobs are brought from answers, but not with jobs: its operator has to mend something."""

    reason = "SOURCE_REFUSED"


class HistoryChanged(JobStatusError):
    """The position held is not in the history the database has."""

    reason = "HISTORY_CHANGED"
    words = "the position is not in the job's history"


class HistoryPruned(HistoryChanged):
    """The position held lies before the part of the history that is still kept."""

    reason = "HISTORY_PRUNED"
    words = "the changes after the position are no longer kept"

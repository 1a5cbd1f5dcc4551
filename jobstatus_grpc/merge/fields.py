"""What a report makes of a job's own fields, and the state its parts give it: the roll-up. Pure."""

from __future__ import annotations

from jobstatus_grpc.merge.steps import NEVER_REPORTED, RANK, Outcome, Step, latest, merge_error, step_of
from jobstatus_grpc.model import Job, JobDocument, JobReport, JobState, SubJobs, Totals
from jobstatus_grpc.sizes import details_bytes


def merge_job(
    current: Job, kept: JobDocument, report: JobReport, authoritative: bool
) -> tuple[Outcome, Job, JobDocument]:
    """Return the outcome, and the job's own fields after it and what is kept beside them.

    A derived state is left to the roll-up. Of a job that only has another document nobody can see that it
    changed.

    Args:
        current: the job as it stands.
        kept: what is kept of it; empty will do where `report` says nothing about that.
        report: what is reported.
        authoritative: as `Report` has it.
    """
    rank = RANK[current.state] if current.state_reported else NEVER_REPORTED
    step, attempt, new = step_of(report, current.attempt, current.state, rank, authoritative)
    if step is Step.STALE:
        return Outcome.STALE, current, kept
    if step is Step.FILL:
        merged, same, told = _fill_job_times(current, report), Outcome.STALE, kept
    else:
        worded = report.state is not None or report.native_state is not None
        base, then = current, kept
        if step is Step.RESTART:
            base, then = _restart_job(current, attempt), JobDocument()
        if worded and not base.state_reported:
            # Times that followed the granules end with the derived state they belonged to.
            base = base._replace(
                state_reported=True,
                begin_time=base.begin_time if base.begin_time_reported else None,
                end_time=base.end_time if base.end_time_reported else None,
            )
        if step is not Step.FIELDS:
            base = base._replace(state=JobState(new), native_state=None)
        merged, same = _replace_job_fields(base, report), Outcome.UNCHANGED
        told = JobDocument(latest(report.details, then.details), latest(report.document, then.document))
    if merged == current and told.details == kept.details:
        return same, current, told
    return Outcome.APPLIED, merged, told


def _fill_job_times(current: Job, report: JobReport) -> Job:
    begin = report.begin_time if not current.begin_time_reported else None
    end = report.end_time if not current.end_time_reported else None
    return _replace_job_fields(current, JobReport(*report.key, begin_time=begin, end_time=end))


def _replace_job_fields(job: Job, report: JobReport) -> Job:
    if report.emptied:
        job = _empty(job, report.emptied)
    return job._replace(
        system=latest(report.system, job.system),
        job_type=latest(report.job_type, job.job_type),
        native_state=latest(report.native_state, job.native_state),
        description=latest(report.description, job.description),
        message=latest(report.message, job.message),
        error=merge_error(report.error, job.error),
        begin_time=latest(report.begin_time, job.begin_time),
        end_time=latest(report.end_time, job.end_time),
        begin_time_reported=job.begin_time_reported or report.begin_time is not None,
        end_time_reported=job.end_time_reported or report.end_time is not None,
        granules_complete=latest(report.granules_complete, job.granules_complete),
        labels=report.labels or job.labels,
        details_bytes=job.details_bytes if report.details is None else details_bytes(report.details),
    )


def _empty(job: Job, fields: frozenset[str]) -> Job:
    """Return `job` without those of its fields that its system tells to be empty."""
    kept = (None if field in fields else value for field, value in zip(Job._fields, job, strict=True))
    return Job._make(kept)._replace(
        begin_time_reported=job.begin_time_reported and "begin_time" not in fields,
        end_time_reported=job.end_time_reported and "end_time" not in fields,
    )


def new_job(report: JobReport, now: int) -> Job:
    """Return the job before its first report: PENDING, with nothing known."""
    return _restart_job(
        Job(
            *report.key,
            system=None,
            job_type=None,
            state=JobState.PENDING,
            native_state=None,
            attempt=1,
            description=None,
            message=None,
            error=None,
            create_time=now,
            begin_time=None,
            end_time=None,
            update_time=now,
            totals=Totals(),
            granules_complete=False,
            labels={},
            revision=0,
            state_reported=False,
            begin_time_reported=False,
            end_time_reported=False,
            parent_job_id=report.parent_job_id,
        ),
        report.attempt or 1,
    )


def _restart_job(job: Job, attempt: int) -> Job:
    """Return `job` at the start of an attempt: empty but for what a job keeps over its attempts."""
    return job._replace(
        attempt=attempt,
        state=JobState.PENDING,
        native_state=None,
        description=None,
        message=None,
        error=None,
        begin_time=None,
        end_time=None,
        granules_complete=False,
        state_reported=False,
        begin_time_reported=False,
        end_time_reported=False,
        details_bytes=0,
    )


def derive(job: Job, now: int, moved: bool) -> Job:
    """Return `job` with the state its granules and sub-jobs give it, and the times that follow from it.

    `moved` tells whether one of them has moved now: a job that has ended, and still has, then ended now.
    """
    state = _roll_up_state(job.totals, job.sub_jobs, job.granules_complete)
    begin, end = job.begin_time, job.end_time
    if not job.begin_time_reported:
        begin = None if state is JobState.PENDING else latest(begin, now)
    if not job.end_time_reported:
        end = (now if moved else latest(end, now)) if state.terminal else None
    return job._replace(state=state, begin_time=begin, end_time=end)


def _roll_up_state(totals: Totals, sub_jobs: SubJobs, complete: bool) -> JobState:
    count = sum(totals) + sub_jobs.direct
    if count == 0 and complete:
        return JobState.SUCCEEDED
    if count == totals.pending + sub_jobs.pending:
        return JobState.PENDING
    ended = totals.succeeded + totals.failed + sub_jobs.succeeded + sub_jobs.failed
    if not complete or ended < count:
        return JobState.RUNNING
    return JobState.FAILED if totals.failed or sub_jobs.failed else JobState.SUCCEEDED


def own_fields(job: Job) -> Job:
    """Return `job` less what changes with every granule and sub-job."""
    return job._replace(totals=Totals(), sub_jobs=SubJobs(), revision=0, update_time=0)

"""What was asked for, and is not there."""

from __future__ import annotations

from collections.abc import Mapping

from jobstatus_grpc.errors.base import JobStatusError


class NotFound(JobStatusError):
    """The thing asked for is not there.

    Attributes:
        resource_type: its type in the contract.
        resource_name: its name.
    """

    def __init__(
        self, message: str, resource_type: str, resource_name: str, metadata: Mapping[str, str]
    ) -> None:
        super().__init__(message, metadata)
        self.resource_type = resource_type
        self.resource_name = resource_name


class JobNotFound(NotFound):
    """Nobody has reported the job."""

    reason = "JOB_NOT_FOUND"

    def __init__(self, project_id: str, job_id: str) -> None:
        super().__init__(f"no job '{job_id}' in project '{project_id}'", *job_resource(project_id, job_id))


class GranuleNotFound(NotFound):
    """Nobody has reported the granule, of the job or, where no job is named, of any."""

    reason = "GRANULE_NOT_FOUND"

    def __init__(self, project_id: str, job_id: str, collection_id: str, granule_id: str) -> None:
        where = f" of job '{job_id}'" if job_id else ""
        name = f"projects/{project_id}{f'/jobs/{job_id}' if job_id else ''}"
        super().__init__(
            f"no granule '{granule_id}' of collection '{collection_id}'{where} in project '{project_id}'",
            "jobstatus.v1.Granule",
            f"{name}/collections/{collection_id}/granules/{granule_id}",
            {
                "project_id": project_id,
                "job_id": job_id,
                "collection_id": collection_id,
                "granule_id": granule_id,
            },
        )


class JobDeleted(NotFound):
    """The job was there, and has been deleted."""

    reason = "JOB_DELETED"

    def __init__(self, project_id: str, job_id: str) -> None:
        super().__init__(
            f"job '{job_id}' in project '{project_id}' has been deleted", *job_resource(project_id, job_id)
        )


def job_resource(project_id: str, job_id: str) -> tuple[str, str, Mapping[str, str]]:
    """Return a job's type in the contract, its name, and the words that make it up."""
    name = f"projects/{project_id}/jobs/{job_id}"
    return "jobstatus.v1.Job", name, {"project_id": project_id, "job_id": job_id}

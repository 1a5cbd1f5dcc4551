"""Documents parsed, merged and kept as a store does it, by the rules alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from jobstatus_grpc.formats import FORMATS, Parsed, documents
from jobstatus_grpc.merge import merge_report
from jobstatus_grpc.model import (
    Details,
    Granule,
    GranuleKey,
    GranuleReport,
    Job,
    JobDocument,
    JobKey,
    JobReport,
    Report,
    WholeJob,
)

DATA = Path(__file__).parent / "data"


def data(name: str) -> Any:
    """Return the document in a file of tests/data."""
    return json.loads((DATA / name).read_text())


def parsed(document: object, form: str = "auto", project_id: str = "default") -> Parsed:
    """Return what a document says, given as text or to be written as one."""
    text = document if isinstance(document, str | bytes) else json.dumps(document)
    (found,) = documents(text, form)
    return found.parse(project_id)


class Shelf:
    """A tree of jobs that came out of documents and reports, with all that is kept of them."""

    def __init__(self) -> None:
        self.root: JobKey | None = None
        self._jobs: dict[JobKey, Job] = {}
        self._granules: dict[GranuleKey, Granule] = {}
        self._kept: dict[JobKey, JobDocument] = {}
        self._clock = 1_000

    @classmethod
    def of(cls, document: object, form: str = "auto") -> Self:
        """Return a job of one document."""
        shelf = cls()
        shelf.take(document, form)
        return shelf

    def take(self, document: object, form: str = "auto") -> None:
        """Take a document as its system's truth."""
        found = parsed(document, form)
        self._merge(found.job, found.granules, authoritative=True)

    def report(self, *granules: GranuleReport, **fields: Any) -> None:
        """Take a report of the job and of granules."""
        key = self.root or ("default", fields.pop("job_id", "j"))
        self._merge(JobReport(*key, **fields), granules, authoritative=False)

    def report_sub_job(self, job_id: str, **fields: Any) -> None:
        """Take a report of a job below."""
        self._merge(JobReport(self.stands.project_id, job_id, **fields), (), authoritative=False)

    @property
    def stands(self) -> Job:
        """The job; there is one."""
        assert self.root is not None
        return self._jobs[self.root]

    @property
    def details(self) -> Details | None:
        """Its details."""
        return self._kept_of(self.stands.key).details

    @property
    def document(self) -> str | None:
        """Its source document."""
        return self._kept_of(self.stands.key).document

    def forget_document(self) -> None:
        """Have the job as if it had been reported without a document."""
        self._kept[self.stands.key] = JobDocument(self.details)

    def _kept_of(self, key: JobKey) -> JobDocument:
        return self._kept.get(key, JobDocument())

    @property
    def sub_job_ids(self) -> set[str]:
        """The ids of all jobs below."""
        return {key.job_id for key in self._jobs if key != self.root}

    def _merge(self, job: JobReport, granules: tuple[GranuleReport, ...], *, authoritative: bool) -> None:
        self._clock += 1_000
        self.root = self.root or job.key
        known = self._granules if job.key == self.root else {}
        report = Report(job.key, job, granules, authoritative)
        merged = merge_report(self._jobs, known, report, self._clock, self._clock, self._kept)
        self._jobs.update(merged.jobs)
        self._granules.update(merged.granules)
        self._kept.update(merged.documents)

    def whole(self) -> WholeJob:
        """Return the job as a store reads it for a document."""
        granules = [self._granules[key] for key in sorted(self._granules)]
        return self._whole(self.stands.key)._replace(granules=granules)

    def _whole(self, key: JobKey) -> WholeJob:
        parts = [each.key for each in self._jobs.values() if each.parent_job_id == key.job_id]
        return WholeJob(self._jobs[key], *self._kept_of(key), (), [self._whole(part) for part in parts])

    def text(self, form: str) -> str:
        """Return the job's document in a form, as text."""
        return "".join(FORMATS[form].render(self.whole()))

    def rendered(self, form: str) -> Any:
        """Return the job's document in a form; granules in the order of their keys."""
        return json.loads(self.text(form))


def unordered(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ORCA's document with its granules as a set."""
    granules = sorted(json.dumps(entry, sort_keys=True) for entry in document["granules"])
    return {**document, "granules": granules}

"""Documents parsed, merged and kept as a store does it, by the rules alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from reports import Ledger

from jobstatus_grpc.formats import FORMATS, Parsed, documents
from jobstatus_grpc.model import Details, GranuleReport, JobReport, Report, WholeJob

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
    """A job that came out of documents and reports, with all that is kept of it."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.details: Details | None = None
        self.document: str | None = None
        self.sub_jobs: dict[str, Shelf] = {}

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
        key = self.ledger.stands.key if self.ledger.job else ("default", fields.pop("job_id", "j"))
        self._merge(JobReport(*key, **fields), granules, authoritative=False)

    def _merge(self, job: JobReport, granules: tuple[GranuleReport, ...], *, authoritative: bool) -> None:
        attempt = self.ledger.stands.attempt if self.ledger.job else 0
        alone = job._replace(sub_jobs=(), parent_job_id=None)
        self.ledger.take(Report(job.key, alone, granules, authoritative))
        if self.ledger.stands.attempt > attempt:
            self.details = self.document = None
        self.details = job.details or self.details
        self.document = job.document or self.document
        for sub_job in job.sub_jobs:
            assert sub_job.parent_job_id == job.job_id
            part = self.sub_jobs.setdefault(sub_job.job_id, Shelf())
            part._merge(sub_job, (), authoritative=authoritative)

    def whole(self) -> WholeJob:
        """Return the job as a store reads it for a document."""
        return WholeJob(
            self.ledger.stands,
            self.details,
            self.document,
            [self.ledger.granules[key] for key in sorted(self.ledger.granules)],
            [part.whole() for part in self.sub_jobs.values()],
        )

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

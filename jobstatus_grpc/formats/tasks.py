"""Forms that tell a job's own state and its sub-jobs: what SDRS, SFS Turbo and Glacier have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobstatus_grpc.errors import JobStatusError, NotRepresentable, Violation
from jobstatus_grpc.formats.base import Entry, ErrorAnswer, Parsed
from jobstatus_grpc.formats.failures import told_error
from jobstatus_grpc.formats.kept import Kept
from jobstatus_grpc.formats.reader import Reader
from jobstatus_grpc.formats.shapes import Shape, patched, read_shape, write_shape
from jobstatus_grpc.formats.times import read_time
from jobstatus_grpc.formats.trees import SUB_JOBS, Place, Tree, ordered, placed, sub_jobs_in
from jobstatus_grpc.json_text import dump
from jobstatus_grpc.model import (
    MAX_JOB_BYTES,
    Details,
    ItemError,
    Job,
    JobReport,
    JobState,
    WholeJob,
    sub_job_id,
)


class TaskFormat(ABC):
    """A form that tells a job's own state, and no granules.

    A child says which keys tell what. It need not know of details, sub-jobs or kept documents.
    """

    name: str
    system: str
    id_key: str
    state_key: str
    #: The words for states; the first for a state is the one that is written.
    states: Mapping[str, JobState]
    #: The keys of texts and of times, and the fields of a report that they tell.
    texts: Mapping[str, str]
    times: Mapping[str, str]
    #: The keys that `facts` tells.
    fact_keys: Sequence[str]
    #: All else that the form has, in the message of its details.
    shape: Shape
    #: Keys that tell nothing of the job.
    ignored: Sequence[str] = ()
    #: The keys that lead to the object with the sub-jobs; `None` if the form has none.
    holder: Sequence[str] | None = None
    #: Whether sub-jobs have sub-jobs of their own.
    nests: bool = True
    #: Whether a key that tells nothing is null, or left out.
    nulls: bool = True
    #: The order of the keys of a document that is written without one that was kept.
    order: Sequence[str] = ()

    @abstractmethod
    def write_time(self, time: int) -> str:
        """Return a time as the form has it."""

    @abstractmethod
    def read_error(self, reader: Reader, source: Mapping[str, Any], path: str, state: JobState) -> ItemError:
        """Return the error a document tells; an empty one if it tells none."""

    @abstractmethod
    def facts(self, job: Job | JobReport, before: JobReport | None) -> dict[str, Any]:
        """Return the values of the keys that are neither texts, times nor details; `None` is nothing.

        Args:
            job: what is to be told.
            before: what the document told that is written anew; `None` if there is none.
        """

    def untold(self, _source: Mapping[str, Any], _state: JobState) -> Sequence[str]:
        """Return the keys of facts whose values no field of the job tells as they are."""
        return ()

    @abstractmethod
    def detects(self, value: Any) -> bool: ...

    def entries(self, entry: Entry) -> Sequence[Entry]:
        return [entry]

    def own_form(self, _source: Mapping[str, Any]) -> str:
        """Return the form a document is written in."""
        return self.name

    def keeps(self, kept: Kept) -> bool:
        """Return whether a kept document is one of this form."""
        return kept.form == self.name

    def parse(self, entry: Entry, project_id: str) -> Parsed:
        tree = Tree(entry, project_id)
        source = tree.reader.mapping(entry.value, entry.path)
        told = told_error(source) if source and self.id_key not in source else None
        if told is not None:
            tree.reader.fault(entry.path, f"is an error that {self.system} answered, not a job: {told}")
        if source is None or told is not None:
            tree.reader.check()
        job = self._job(tree, source or {}, Place(entry.path))
        tree.reader.check()
        return Parsed(job)

    def _job(self, tree: Tree, source: dict[str, Any], place: Place) -> JobReport:
        reader, path = tree.reader, place.path
        if place.parent_job_id is not None and source.get(self.id_key) in (None, ""):
            job_id = sub_job_id(place.parent_job_id, place.position)
        else:
            job_id = reader.word(source, self.id_key, path) or ""
        tree.take(job_id, path)
        word = reader.word(source, self.state_key, path) or ""
        state = self.states.get(word, JobState.UNSPECIFIED)
        fields: dict[str, Any] = {field: reader.text(source, key, path) for key, field in self.texts.items()}
        for key, field in self.times.items():
            text = reader.text(source, key, path)
            fields[field] = None if text is None else read_time(text)
        sub_jobs = self._sub_jobs(tree, source, place, job_id)
        report = JobReport(
            tree.project_id,
            job_id,
            system=self.system,
            state=state or None,
            native_state=word,
            error=self.read_error(reader, source, path, state),
            granules_complete=True,
            parent_job_id=place.parent_job_id,
            details=self._details(source, fields, state),
            document=self._kept(source, sub_jobs).text(),
            sub_jobs=sub_jobs or (),
            emptied=frozenset(field for field, value in fields.items() if value is None),
            **fields,
        )
        reader.limit(report.document or "", MAX_JOB_BYTES, path, "without its sub-jobs")
        return report

    def _sub_jobs(
        self, tree: Tree, source: dict[str, Any], place: Place, job_id: str
    ) -> list[JobReport] | None:
        """Return the sub-jobs of a document; `None` if it has no array of them."""
        if self.holder is None:
            return None
        found = sub_jobs_in(tree.reader, source, self.holder, place)
        if found is None:
            return None
        path, parts = found
        jobs = []
        for index, part in enumerate(parts):
            here = Place(f"{path}[{index}]", job_id, index + 1, place.depth + 1)
            inner = tree.reader.mapping(part, here.path)
            if inner is not None:
                jobs.append(self._job(tree, inner, here))
        return jobs

    def _with_sub_jobs(self, source: Mapping[str, Any], parts: list[Any] | None) -> dict[str, Any]:
        """Return `source` with `parts` where it has its sub-jobs, or without that key if there are none."""
        return placed(source, [*(self.holder or ()), SUB_JOBS], parts)

    def _kept(self, source: Mapping[str, Any], sub_jobs: Sequence[JobReport] | None) -> Kept:
        if sub_jobs is None:
            return Kept(self.own_form(source), source)
        ids = [job.job_id for job in sub_jobs]
        return Kept(self.own_form(source), self._with_sub_jobs(source, []), ids)

    def _details(self, source: Mapping[str, Any], fields: Mapping[str, Any], state: JobState) -> Details:
        told = {self.id_key, self.state_key, *self.texts, *self.times, *self.fact_keys}
        told.difference_update(key for key, field in self.times.items() if fields[field] is None)
        told.difference_update(self.untold(source, state))
        rest = source if self.holder is None else self._with_sub_jobs(source, None)
        facts = {*self.texts, *self.times}
        kept = {
            key: value
            for key, value in rest.items()
            if key not in told and key not in self.ignored and not (key in facts and value in (None, ""))
        }
        return Details(self.system, read_shape(self.shape, kept)[0])

    def told(self, job: Job | JobReport, details: Details | None, before: JobReport | None) -> dict[str, Any]:
        """Return what the form has to tell of a job, less its id, state and sub-jobs."""
        mine = details is not None and details.system == self.system
        found = write_shape(self.shape, details.fields if details and mine else {}, self.nulls)
        facts = {key: getattr(job, field) for key, field in self.texts.items()}
        for key, field in self.times.items():
            time = getattr(job, field)
            facts[key] = None if time is None else self.write_time(time)
        for key, value in (facts | self.facts(job, before)).items():
            if value is not None or (self.nulls and key not in found):
                found[key] = value
        return found

    def render(self, whole: WholeJob) -> Iterator[str]:
        return iter([dump(self.document(whole))])

    def document(self, whole: WholeJob) -> dict[str, Any]:
        """Return a job's document.

        Raises:
            NotRepresentable: the form cannot express the job.
        """
        found: list[Violation] = []
        document = self._document(whole, "", found)
        if found:
            raise NotRepresentable(self.name, found)
        return document

    def _document(self, whole: WholeJob, prefix: str, found: list[Violation]) -> dict[str, Any]:
        job, kept = whole.job, Kept.of(whole.document)
        self.check(whole, prefix, found)
        if kept is None or not self.keeps(kept):
            kept = None
            told = self.told(job, whole.details, None) | {
                self.id_key: job.job_id,
                self.state_key: self._word(job, prefix, found),
            }
            ordered = [key for key in self.order if key in told]
            document = {key: told[key] for key in ordered} | told
        else:
            tree = Tree(Entry(kept.source), job.project_id)
            before = self._job(tree, dict(kept.source), Place("$", job.job_id))
            then = self.told(before, before.details, None)
            now = self.told(job, whole.details or before.details, before)
            then[self.state_key] = before.native_state
            now[self.state_key] = self._word(job, prefix, found)
            document = patched(kept.source, then, now)
        return self._with_parts(document, whole, kept, prefix, found)

    def _with_parts(
        self,
        document: dict[str, Any],
        whole: WholeJob,
        kept: Kept | None,
        prefix: str,
        found: list[Violation],
    ) -> dict[str, Any]:
        parts = list(whole.sub_jobs) if self.holder is None else ordered(whole.sub_jobs, kept)
        had_array = kept is not None and kept.sub_jobs is not None
        if parts and not had_array and (self.holder is None or (prefix and not self.nests)):
            owner = "jobs" if self.holder is None else "sub-jobs"
            text = f"it has {len(parts)}, and {self.system}'s {owner} have none"
            found.append(Violation(f"{prefix}{SUB_JOBS}", text))
        if self.holder is None or not (parts or had_array):
            return document
        written = [
            self._document(part, f"{prefix}{SUB_JOBS}[{index}].", found) for index, part in enumerate(parts)
        ]
        return self._with_sub_jobs(document, written)

    def check(self, whole: WholeJob, prefix: str, found: list[Violation]) -> None:
        """Add to `found` what the form cannot express of a job, less its state and sub-jobs."""
        count, totals = sum(whole.job.totals), whole.job.totals
        if count:
            each = ", ".join(f"{number} {name}" for name, number in totals._asdict().items() if number)
            text = f"it has {count} ({each}), and {self.system}'s jobs have none"
            found.append(Violation(f"{prefix}granules", text))
        details = whole.details
        if details is not None and details.system != self.system and details.fields:
            found.append(Violation(f"{prefix}details", f"they are those of {details.system}"))

    def _word(self, job: Job, prefix: str, found: list[Violation]) -> str:
        """Return the form's word for a job's state."""
        state, native = job.state, job.native_state
        mine = state is not JobState.UNSPECIFIED or job.system in (None, self.system)
        if native is not None and mine and self.states.get(native, JobState.UNSPECIFIED) is state:
            return native
        word = next((word for word, known in self.states.items() if known is state), None)
        if word is None:
            shown = state.name if native is None else f"{state.name} ('{native}')"
            text = f"it is {shown}, for which the form has no word"
            found.append(Violation(f"{prefix}state", text))
        return word or ""

    def render_list(self, jobs: Sequence[WholeJob]) -> str:
        return dump([self.document(whole) for whole in jobs])

    @abstractmethod
    def render_error(self, error: JobStatusError, request_id: str) -> ErrorAnswer: ...

"""Forms that tell a job's own state and its sub-jobs: what SDRS, SFS Turbo and Glacier have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from jobstatus_grpc import json_text
from jobstatus_grpc.errors import InvalidRequest, JobStatusError, NotRepresentable, Violation
from jobstatus_grpc.formats.base import Entry, ErrorAnswer, Parsed
from jobstatus_grpc.formats.failures import told_error
from jobstatus_grpc.formats.kept import Kept
from jobstatus_grpc.formats.reader import Reader
from jobstatus_grpc.formats.shapes import Shape, patched, read_shape, write_shape
from jobstatus_grpc.formats.times import read_time
from jobstatus_grpc.json_text import dump, kind, member
from jobstatus_grpc.model import (
    MAX_JOB_BYTES,
    MAX_TREE_DEPTH,
    MAX_TREE_JOBS,
    Details,
    ItemError,
    Job,
    JobReport,
    JobState,
    WholeJob,
    sub_job_id,
)

SUB_JOBS: Final = "sub_jobs"


class Place(NamedTuple):
    """Where in a tree of a document a job stands."""

    path: str
    parent_job_id: str | None = None
    position: int = 1
    depth: int = 1


class Tree:
    """One document on its way into the reports of a job and its sub-jobs."""

    def __init__(self, entry: Entry, project_id: str) -> None:
        self.reader = Reader(entry)
        self.project_id = project_id
        self.root = entry.path
        self._found: dict[str, str] = {}

    def take(self, job_id: str, path: str) -> None:
        """Note where a job stands; no two may have one id."""
        first = self._found.setdefault(job_id, path)
        if job_id and first != path:
            self.reader.fault(path, f"is the same job as {first}: '{job_id}'")
        if len(self._found) == MAX_TREE_JOBS + 1:
            self.reader.fault(self.root, f"has more than {MAX_TREE_JOBS} jobs")


class TaskFormat:
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

    def write_time(self, time: int) -> str:
        """Return a time as the form has it."""
        raise NotImplementedError

    def read_error(self, reader: Reader, source: Mapping[str, Any], path: str, state: JobState) -> ItemError:
        """Return the error a document tells; an empty one if it tells none."""
        raise NotImplementedError

    def facts(self, job: Job | JobReport, before: JobReport | None) -> dict[str, Any]:
        """Return the values of the keys that are neither texts, times nor details; `None` is nothing.

        Args:
            job: what is to be told.
            before: what the document told that is written anew; `None` if there is none.
        """
        raise NotImplementedError

    def untold(self, _source: Mapping[str, Any], _state: JobState) -> Sequence[str]:
        """Return the keys of facts whose values no field of the job tells as they are."""
        return ()

    def detects(self, value: Any) -> bool:
        raise NotImplementedError

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
        path, held = place.path, source
        for key in self.holder:
            path, inner = member(path, key), held.get(key)
            if inner is None or inner == "":
                return None
            found = tree.reader.mapping(inner, path)
            if found is None:
                return None
            held = found
        path, parts = f"{path}.{SUB_JOBS}", held.get(SUB_JOBS)
        if parts is None or parts == "":
            return None
        if not isinstance(parts, list):
            tree.reader.fault(path, f"must be an array, is {kind(parts)}")
            return None
        if parts and place.depth == MAX_TREE_DEPTH:
            tree.reader.fault(path, f"is deeper than {MAX_TREE_DEPTH} levels of jobs")
            return None
        jobs = []
        for index, part in enumerate(parts):
            here = Place(f"{path}[{index}]", job_id, index + 1, place.depth + 1)
            inner = tree.reader.mapping(part, here.path)
            if inner is not None:
                jobs.append(self._job(tree, inner, here))
        return jobs

    def _with_sub_jobs(self, source: Mapping[str, Any], parts: list[Any] | None) -> dict[str, Any]:
        """Return `source` with `parts` where it has its sub-jobs, or without that key if there are none."""
        return _placed(source, [*(self.holder or ()), SUB_JOBS], parts)

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
        parts = list(whole.sub_jobs) if self.holder is None else _parts(whole.sub_jobs, kept)
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

    def render_error(self, error: JobStatusError, request_id: str) -> ErrorAnswer:
        raise NotImplementedError


def _parts(sub_jobs: Sequence[WholeJob], kept: Kept | None) -> list[WholeJob]:
    """Return sub-jobs in the order of the document that was kept, those it does not have after them.

    A sub-job that has a document, so came from its system, and is not in the latest one of its parent, is
    there no more.
    """
    if kept is None:
        return list(sub_jobs)
    known = {part.job.job_id: part for part in sub_jobs}
    listed = [known.pop(job_id) for job_id in kept.sub_jobs or () if job_id in known]
    return listed + [part for part in known.values() if part.document is None]


def _placed(source: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """Return `source` with `value` under a path of keys; `None` takes the last of them away."""
    key, *rest = keys
    result = dict(source)
    if rest:
        inner = result.get(key)
        if value is not None or isinstance(inner, dict):
            result[key] = _placed(inner if isinstance(inner, dict) else {}, rest, value)
    elif value is None:
        result.pop(key, None)
    else:
        result[key] = value
    return result


def list_entries(entry: Entry, key: str) -> Sequence[Entry]:
    """Return the documents in a list under `key`; what has no such key is one document.

    Raises:
        InvalidRequest: there is something else under the key.
    """
    if not isinstance(entry.value, dict) or key not in entry.value:
        return [entry]
    path, jobs = member(entry.path, key), entry.value[key]
    check_around(entry, path)
    if not isinstance(jobs, list):
        raise InvalidRequest([Violation(path, f"must be an array, is {kind(jobs)}")])
    return [Entry(job, f"{path}[{index}]", entry.marked) for index, job in enumerate(jobs)]


def check_around(entry: Entry, path: str) -> None:
    """Raise InvalidRequest with the faults of a list's text that are not in the documents at `path`."""
    faults = json_text.faults(entry.value, entry.path) if entry.marked else ()
    around = [fault for fault in faults if not fault.field.startswith(f"{path}[")]
    if around:
        raise InvalidRequest(around)

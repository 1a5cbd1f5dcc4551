"""What every form of a job's document can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from jobstatus_grpc.errors import JobStatusError
from jobstatus_grpc.model import GranuleReport, JobReport, WholeJob


class Entry(NamedTuple):
    """One job's document, on its own or out of a list.

    Attributes:
        value: what the JSON says.
        path: where it stands in the text, `$` for all of it.
        marked: whether the reader of the text has marked faults in the text.
    """

    value: Any
    path: str = "$"
    marked: bool = False


class Parsed(NamedTuple):
    """What a document says.

    Attributes:
        job: the job with its details, its document and its sub-jobs. Its system's truth when it was taken.
        granules: in the order of the document; no two of one key.
    """

    job: JobReport
    granules: tuple[GranuleReport, ...] = ()


class ErrorAnswer(NamedTuple):
    """How a system answers a request that failed.

    Attributes:
        status: of HTTP.
        body: the JSON.
    """

    status: int
    body: Mapping[str, Any]


class Format(Protocol):
    """One system's form of a job's document. Pure: the same arguments, the same answer.

    A document that is parsed, kept and rendered in its own form is equal to what came, as parsed JSON, but
    for what later reports have changed; ORCA's granules are a set. Its own form is the one it is written in
    where that can be told, and else the one it was parsed as.
    """

    @property
    def name(self) -> str:
        """The form's name, as commands and requests call it."""

    @property
    def system(self) -> str:
        """The system whose form it is, as `Job.system` has it."""

    def detects(self, value: Any) -> bool:
        """Return whether `value` looks like a document, a list or an error of this form."""

    def entries(self, entry: Entry) -> Sequence[Entry]:
        """Return the documents in the system's own list of jobs; what is no list is one document.

        Raises:
            InvalidRequest: it is such a list, and broken.
        """

    def parse(self, entry: Entry, project_id: str) -> Parsed:
        """Return what a document says.

        Args:
            entry: the document.
            project_id: the project it comes from, which no document tells.

        Raises:
            InvalidRequest: it is no such document. Every fault is named, by its path.
        """

    def render(self, whole: WholeJob) -> Iterator[str]:
        """Return a job's document as JSON text, in pieces of no certain size.

        Raises:
            NotRepresentable: the form cannot express the job; what only a granule shows, in the midst of
                the pieces.
        """

    def render_list(self, jobs: Sequence[WholeJob]) -> str:
        """Return jobs as a JSON text in the system's own form of a list; where it has none, as an array.

        Raises:
            NotRepresentable: the list cannot express one of the jobs.
        """

    def render_error(self, error: JobStatusError, request_id: str) -> ErrorAnswer:
        """Return how the system would answer a request that failed with `error`."""

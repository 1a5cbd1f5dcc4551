"""The faults of a request, and the checks that ids, texts and labels have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, Protocol

from jobstatus_grpc.errors import INVALID, MISSING, InvalidRequest, Violation
from jobstatus_grpc.model import DEFAULT_PROJECT, MAX_ID_BYTES, JobKey, text_bytes

# Faults beyond these are not kept: the honest report with the most has fewer, and all that a hostile one
# can have take a gigabyte.
_MAX_FAULTS: Final = 100_000
_SHOWN_KEY_CHARS: Final = 64

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # Unicode's category Cc, which never grows.


class HasJobKey(Protocol):
    """Any request about one job."""

    @property
    def project_id(self) -> str:
        """The project; empty for the default."""

    @property
    def job_id(self) -> str:
        """The job."""


class Faults:
    """The faults found so far.

    A part of a request is read without knowing where in it it stands, so that a faultless granule costs no
    path; whoever reads the part then places the faults that came up.
    """

    def __init__(self) -> None:
        self.found: list[Violation] = []
        self.placed = 0

    def add(self, field: str, description: str, reason: str = INVALID) -> None:
        """Note a fault."""
        if len(self.found) < _MAX_FAULTS:
            self.found.append(Violation(field, description, reason))

    def place(self, prefix: str) -> None:
        """Put `prefix` before the fields of the faults added since the last call of `place`."""
        for index in range(self.placed, len(self.found)):
            fault = self.found[index]
            self.found[index] = fault._replace(field=prefix + fault.field)
        self.placed = len(self.found)

    def check(self) -> None:
        """Raise InvalidRequest with all faults, if there are any."""
        if self.found:
            raise InvalidRequest(self.found)


def read_job_key(request: HasJobKey, faults: Faults) -> JobKey:
    """Return which job a request is about; what is wrong with its ids is added to `faults`."""
    project_id = read_project_id(request.project_id, faults)
    check_id(request.job_id, "job_id", faults)
    return JobKey(project_id, request.job_id)


def read_project_id(project_id: str, faults: Faults) -> str:
    """Return the project a request names; empty is the default one."""
    if not project_id:
        return DEFAULT_PROJECT
    check_id(project_id, "project_id", faults)
    return project_id


def check_id(text: str, field: str, faults: Faults) -> None:
    """Add to `faults` what keeps a text from being an id: 1 to 512 bytes without control characters."""
    # Nearly all ids are printable ASCII, and this tells it without encoding or searching.
    if text.isascii() and text.isprintable() and 0 < len(text) <= MAX_ID_BYTES:
        return
    if not text:
        faults.add(field, "is required", MISSING)
    elif fault := _id_fault(text):
        faults.add(field, fault)


def _id_fault(text: str) -> str | None:
    """Return what keeps a text from being an id."""
    if not text:
        return "is empty"
    size = text_bytes(text)
    if size > MAX_ID_BYTES:
        return f"takes {size} bytes, more than {MAX_ID_BYTES}"
    return "contains a control character" if _CONTROL.search(text) else None


def read_text(text: str, field: str, faults: Faults) -> str:
    """Return a text, which may be anything but what not every database can keep."""
    if "\0" in text:
        faults.add(field, "contains a NUL character, which not every database can keep")
    return text


def read_labels(labels: Mapping[str, str], faults: Faults) -> dict[str, str]:
    """Return labels; their keys are ids, their values texts."""
    for key, value in labels.items():
        if fault := _id_fault(key):
            faults.add(f"labels[{json.dumps(key[:_SHOWN_KEY_CHARS])}]", f"the key {fault}")
        if "\0" in value:
            read_text(value, f"labels[{json.dumps(key[:_SHOWN_KEY_CHARS])}]", faults)
    return dict(labels)

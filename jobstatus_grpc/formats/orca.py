"""ORCA's answer of request_status_for_job, read into reports. Pure.

Two forms of it are about: the one its API.md tells (`job_status_totals`, `granule_id`, `failed`) and the one
its code has written since v4 (`jobStatusTotals`, `granuleId`, `error`, and from v9 on `collectionId`). A
document may mix them. The answer has neither times nor a state of the job; both follow from the granules.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from jobstatus_grpc.errors import MISSING, InvalidRequest, Violation
from jobstatus_grpc.model import MAX_ID_BYTES, GranuleKey, GranuleReport, GranuleState, JobReport, text_bytes

MAX_DEPTH: Final = 64

STATES: Final[Mapping[str, GranuleState]] = {
    "pending": GranuleState.PENDING,
    "staged": GranuleState.STAGED,
    "success": GranuleState.SUCCEEDED,
    "failed": GranuleState.FAILED,
    "error": GranuleState.FAILED,
}

_JOB_ID: Final = ("asyncOperationId",)
_TOTALS: Final = ("jobStatusTotals", "job_status_totals")
_GRANULE_ID: Final = ("granuleId", "granule_id")
_COLLECTION_ID: Final = ("collectionId", "collection_id")
_STATUS: Final = ("status",)

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONGEST_QUOTE: Final = 200
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# As many digits as Python reads without being told to.
_MAX_DIGITS: Final = 4300


class OrcaDocument(NamedTuple):
    """What a document says.

    Attributes:
        job: the recovery job, complete with its granules and without a state of its own.
        granules: in the order of the document; no two of one name.
    """

    job: JobReport
    granules: tuple[GranuleReport, ...]


def parse(text: str | bytes, project_id: str) -> OrcaDocument:
    """Read an answer of request_status_for_job.

    Totals are checked for their types and not believed: ORCA reads them in another transaction than the
    granules. A state word that ORCA did not have becomes a `native_state` without a state. Keys that ORCA
    did not have are ignored.

    Args:
        text: the document, as UTF-8 if bytes.
        project_id: the deployment the document comes from, which it does not tell itself.

    Raises:
        InvalidRequest: it is no such answer. Every fault is named, by its path in the document.
    """
    return _Reader().read(text, project_id)


class _Object(dict[str, Any]):
    """A JSON object that had some of its keys more than once."""

    repeated: tuple[str, ...] = ()


class _Unreadable(NamedTuple):
    """Stands for a value that Python reads and JSON does not have, or the other way about."""

    fault: str


class _Reader:
    """One document on its way into reports, and what is wrong with it so far."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def read(self, text: str | bytes, project_id: str) -> OrcaDocument:
        document = self.load(text)
        self.check_values(document)
        if not isinstance(document, dict):
            self.fault("$", f"must be an object, is {_kind(document)}")
            raise self.refusal()
        if "errorType" in document and "granules" not in document:
            self.fault("$", _told_error(document))
            raise self.refusal()
        job_id = self.text(document, "$", _JOB_ID)
        self.check_totals(document)
        granules = self.granules(document)
        if job_id is None or self.violations:
            raise self.refusal()
        job = JobReport(project_id, job_id, system="orca", job_type="recovery", granules_complete=True)
        return OrcaDocument(job, granules)

    def fault(self, field: str, description: str) -> None:
        self.violations.append(Violation(field, description))

    def refusal(self) -> InvalidRequest:
        return InvalidRequest(self.violations)

    def load(self, text: str | bytes) -> Any:
        try:
            if isinstance(text, bytes):
                text = text.decode()
            return json.loads(
                text.removeprefix("\ufeff"),
                object_pairs_hook=_object,
                parse_constant=lambda word: _Unreadable(f"{word} is not JSON"),
                parse_int=_integer,
                parse_float=_number,
            )
        except UnicodeDecodeError as error:
            self.fault("$", f"is not UTF-8 at byte {error.start}")
        except json.JSONDecodeError as error:
            self.fault("$", f"is not JSON: {error.msg} at line {error.lineno} column {error.colno}")
        except RecursionError:
            self.fault("$", f"is nested more than {MAX_DEPTH} levels deep")
        raise self.refusal()

    def check_values(self, document: Any) -> None:
        """Find what is wrong wherever it stands, in keys that are not read too."""
        stack: list[tuple[str, Any, int]] = [("$", document, 1)]
        while stack:
            path, value, depth = stack.pop()
            if isinstance(value, _Unreadable):
                self.fault(path, value.fault)
                continue
            if depth > MAX_DEPTH:
                self.fault(_cut(path), f"is nested more than {MAX_DEPTH} levels deep")
                continue
            if isinstance(value, _Object):
                for key in value.repeated:
                    self.fault(_member(path, key), "is there more than once")
            # The last pushed is the first looked at: faults come in the order of the document.
            stack.extend(reversed([(inner, held, depth + 1) for inner, held in _held(path, value)]))

    def check_totals(self, document: Mapping[str, Any]) -> None:
        for name in _TOTALS:
            if name not in document:
                continue
            path, totals = _member("$", name), document[name]
            if not isinstance(totals, dict):
                self.fault(path, f"must be an object, is {_kind(totals)}")
                continue
            for word, count in totals.items():
                if word not in STATES or isinstance(count, _Unreadable):
                    continue
                if isinstance(count, bool) or not isinstance(count, int | float):
                    self.fault(_member(path, word), f"must be a number, is {_kind(count)}")
                elif count < 0:
                    self.fault(_member(path, word), "must not be negative")

    def granules(self, document: Mapping[str, Any]) -> tuple[GranuleReport, ...]:
        entries = document.get("granules")
        if "granules" not in document:
            self.violations.append(Violation("$.granules", "is missing", MISSING))
            return ()
        if not isinstance(entries, list):
            self.fault("$.granules", f"must be an array, is {_kind(entries)}")
            return ()
        found: dict[GranuleKey, int] = {}
        reports = []
        for index, entry in enumerate(entries):
            path = f"$.granules[{index}]"
            if not isinstance(entry, dict):
                self.fault(path, f"must be an object, is {_kind(entry)}")
                continue
            collection_id = self.text(entry, path, _COLLECTION_ID, required=False)
            granule_id = self.text(entry, path, _GRANULE_ID)
            word = self.text(entry, path, _STATUS)
            if collection_id is None or granule_id is None:
                continue
            key = GranuleKey(collection_id, granule_id)
            first = found.setdefault(key, index)
            if first != index:
                self.fault(path, f"is the same granule as $.granules[{first}]: {_named(key)}")
            reports.append(GranuleReport(*key, STATES.get(word or ""), word))
        return tuple(reports)

    def text(
        self, entry: Mapping[str, Any], path: str, names: tuple[str, ...], *, required: bool = True
    ) -> str | None:
        """Return the text under one of `names`, `None` if it is wrong, "" if it is absent and may be."""
        present = [name for name in names if name in entry]
        if not present:
            if not required:
                return ""
            self.violations.append(Violation(_member(path, names[0]), "is missing", MISSING))
            return None
        name, value = present[0], entry[present[0]]
        for other in present[1:]:
            if entry[other] != value:
                self.fault(_member(path, other), f"must be the same as {name}")
        if isinstance(value, _Unreadable):
            return None
        if value == "" and required:
            self.violations.append(Violation(_member(path, name), "must not be empty", MISSING))
            return None
        fault = _text_fault(value)
        if fault is not None:
            self.fault(_member(path, name), fault)
            return None
        return cast(str, value)


def _text_fault(value: Any) -> str | None:
    """Return what keeps `value` from being an id or a word of ORCA's."""
    if not isinstance(value, str):
        return f"must be a string, is {_kind(value)}"
    if _CONTROL.search(value):
        return "must not contain control characters"
    try:
        size = text_bytes(value)
    except UnicodeEncodeError:
        return "must not contain half a surrogate pair"
    return f"must be at most {MAX_ID_BYTES} bytes, is {size}" if size > MAX_ID_BYTES else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    marked = _Object(plain)
    marked.repeated = tuple(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return marked


def _integer(digits: str) -> int | _Unreadable:
    return int(digits) if len(digits) <= _MAX_DIGITS else _Unreadable(f"has more than {_MAX_DIGITS} digits")


def _number(digits: str) -> float | _Unreadable:
    value = float(digits)
    return value if math.isfinite(value) else _Unreadable("is too great a number")


def _held(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what stands in `value` and may itself hold a fault, with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, dict | list | _Unreadable):
                yield _member(path, key), inner
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if isinstance(inner, dict | list | _Unreadable):
                yield f"{path}[{index}]", inner


def _member(path: str, key: str) -> str:
    # Quoted as JSON does it, so that a path is plain text whatever the document calls its keys.
    return f"{path}.{key}" if _PLAIN_KEY.fullmatch(key) else f"{path}[{_cut(json.dumps(key))}]"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def _quoted(value: Any) -> str:
    return _cut(str(value).encode(errors="backslashreplace").decode())


def _named(key: GranuleKey) -> str:
    return f"'{key.granule_id}'" + (f" of collection '{key.collection_id}'" if key.collection_id else "")


def _kind(value: Any) -> str:
    """Return what JSON calls `value`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return "a string"
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, list) else "a number"


def _told_error(answer: Mapping[str, Any]) -> str:
    """Return the words of an answer in which ORCA reports an error."""
    status, error_type, message, request_id = (
        _quoted(answer.get(name, "")) for name in ("httpStatus", "errorType", "message", "requestId")
    )
    return (
        f"is an error that ORCA answered, not a job: {status} {error_type}: {message} (request {request_id})"
    )

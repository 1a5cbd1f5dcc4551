"""Errors: the service's as the systems would tell them, and the systems' where a job ought to be."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from jobstatus_grpc.errors import (
    DeadlineExceeded,
    InvalidRequest,
    JobStatusError,
    NotFound,
    NotServed,
    PermissionDenied,
    PreconditionFailed,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from jobstatus_grpc.json_text import cut

#: What is said of a failure that is nobody's business.
INTERNAL_WORDS: Final = "Internal server error"


class Failure(Enum):
    """What went wrong, as far as a system would tell it apart."""

    INVALID = "the request is wrong"
    UNAUTHENTICATED = "nobody knows who calls"
    FORBIDDEN = "the caller may not do this"
    NOT_FOUND = "there is no such thing"
    CONFLICT = "the thing is not as the request needs it"
    EXHAUSTED = "a limit is reached"
    UNAVAILABLE = "it does not work now"
    DEADLINE = "it took too long"
    NOT_SERVED = "there is no such method"
    INTERNAL = "anything else"


_FAILURES: Final[Mapping[type[JobStatusError], Failure]] = {
    InvalidRequest: Failure.INVALID,
    Unauthenticated: Failure.UNAUTHENTICATED,
    PermissionDenied: Failure.FORBIDDEN,
    NotFound: Failure.NOT_FOUND,
    PreconditionFailed: Failure.CONFLICT,
    ResourceExhausted: Failure.EXHAUSTED,
    Unavailable: Failure.UNAVAILABLE,
    DeadlineExceeded: Failure.DEADLINE,
    NotServed: Failure.NOT_SERVED,
}
# The objects that SDRS and its kin put an error into.
WRAPPERS: Final = ("error", "badRequest", "badrequest", "itemNotFound")
# The code's key and the message's, in each flat form of an error.
_FLAT: Final = (
    ("errorType", "message"),
    ("errCode", "errMsg"),
    ("error_code", "error_msg"),
    ("errorCode", "errorMsg"),
    ("code", "message"),
    ("__type", "message"),
)


def failure_of(error: JobStatusError) -> Failure:
    """Return what kind of failure an error is."""
    return next((_FAILURES[kind] for kind in type(error).__mro__ if kind in _FAILURES), Failure.INTERNAL)


def words_of(error: JobStatusError) -> str:
    """Return what a caller may be told of an error."""
    return INTERNAL_WORDS if failure_of(error) is Failure.INTERNAL else str(error)


def told_error(answer: Any) -> str | None:
    """Return the words of an answer that is an error instead of a job; `None` if it is none."""
    if not isinstance(answer, dict):
        return None
    inner: Any = next((answer[name] for name in WRAPPERS if isinstance(answer.get(name), dict)), answer)
    keys = next(((code, words) for code, words in _FLAT if code in inner and words in inner), None)
    if keys is None:
        return None
    code, words = (_quoted(inner[key]) for key in keys)
    status, request_id = (inner.get(key) for key in ("httpStatus", "requestId"))
    told = f"{code}: {words}" if status is None else f"{_quoted(status)} {code}: {words}"
    return told if request_id is None else f"{told} (request {_quoted(request_id)})"


def _quoted(value: Any) -> str:
    return cut(str(value).encode(errors="backslashreplace").decode())

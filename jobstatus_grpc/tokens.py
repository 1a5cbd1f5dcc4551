"""Page and resume tokens: opaque to callers, and refused unless they are used where they were given.

A token is

    version (1) · kind (1) · store (8) · body · digest (8)

in bytes. The body says where to go on. What a token belongs to, the ids and filters of the request, is not
in it: the digest, keyed with the store's secret, is taken over them as well, so a token costs the same for
long ids and short ones, and fits no other request. Every part that goes into a digest and may vary in
length is preceded by its length, so no two requests feed it the same bytes.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple

from jobstatus_grpc.errors import PageTokenInvalid, ResumeTokenInvalid, Violation
from jobstatus_grpc.model import MAX_ID_BYTES, GranuleKey, GranuleState, JobKey, JobState, Position

_VERSION: Final = 1
_RESUME: Final = b"R"
_GRANULES: Final = b"G"
_JOBS: Final = b"J"

_HEAD_BYTES: Final = 10
_DIGEST_BYTES: Final = 8

_RESUME_BODY: Final = Struct(">qqq")  # job_pk, revision, commit_id: signed, as databases count.
_GRANULE_BODY: Final = Struct(">qH")  # job_pk and the length of collection_id; both ids follow.
_JOB_BODY: Final = Struct(">q")
_LENGTH: Final = Struct(">I")


class ResumePoint(NamedTuple):
    """Up to where a stream has been delivered: a row, and a position in its history."""

    job_pk: int
    position: Position


class GranulePagePoint(NamedTuple):
    """Where a page of granules ended: the job's row, and the last granule's key."""

    job_pk: int
    after: GranuleKey


class JobFilter(NamedTuple):
    """Which jobs a listing is of; empty fields let all pass. Its page tokens fit no other filter."""

    project_id: str
    states: Collection[JobState] = ()
    system: str = ""
    job_type: str = ""
    labels: Mapping[str, str] = {}
    parent_job_id: str = ""


class _TokenError(Exception):
    """Why bytes are not the token asked for; never leaves this module."""


class Tokens:
    """Makes and reads the tokens of one store. May be used by many threads.

    Args:
        store_id: the store's; its first 8 bytes stand in every token.
        secret: 16 to 64 bytes that only servers of this store know.
    """

    def __init__(self, store_id: bytes, secret: bytes) -> None:
        resume, jobs = _RESUME_BODY.size, _JOB_BODY.size
        self._resume = _Kind(_RESUME, range(resume, resume + 1), store_id, secret)
        self._jobs = _Kind(_JOBS, range(jobs, jobs + 1), store_id, secret)
        fixed = _GRANULE_BODY.size
        self._granules = _Kind(_GRANULES, range(fixed, fixed + 2 * MAX_ID_BYTES + 1), store_id, secret)

    def resume_token(self, key: JobKey, point: ResumePoint) -> bytes:
        """Return the token that resumes a watch of the job `key` after `point`."""
        job_pk, (revision, commit_id) = point
        return self._resume.seal(_bound(key), _RESUME_BODY.pack(job_pk, revision, commit_id))

    def read_resume_token(self, key: JobKey, token: bytes) -> ResumePoint:
        """Return where a watch of the job `key` goes on.

        Raises:
            ResumeTokenInvalid: it is not a token, or of another store, or not of this job.
        """
        try:
            body = self._resume.open(_bound(key), token, "a resume token", "job")
        except _TokenError as why:
            raise ResumeTokenInvalid([Violation("resume_token", str(why))]) from None
        job_pk, revision, commit_id = _RESUME_BODY.unpack(body)
        return ResumePoint(job_pk, Position(revision, commit_id))

    def granule_page_token(
        self, key: JobKey, states: Collection[GranuleState], point: GranulePagePoint
    ) -> bytes:
        """Return the token for the page after `point`, of the job `key`, filtered by `states`."""
        collection_id, granule_id = point.after.collection_id.encode(), point.after.granule_id.encode()
        body = _GRANULE_BODY.pack(point.job_pk, len(collection_id)) + collection_id + granule_id
        return self._granules.seal(_bound((*key, _states(states))), body)

    def read_granule_page_token(
        self, key: JobKey, states: Collection[GranuleState], token: bytes
    ) -> GranulePagePoint:
        """Return where the page before ended.

        Raises:
            PageTokenInvalid: it is not a token, or of another store, or not of this job and filter.
        """
        body = self._open_page(self._granules, _bound((*key, _states(states))), token)
        job_pk, length = _GRANULE_BODY.unpack_from(body)
        ids = body[_GRANULE_BODY.size :]
        return GranulePagePoint(job_pk, GranuleKey(ids[:length].decode(), ids[length:].decode()))

    def job_page_token(self, job_filter: JobFilter, before: int) -> bytes:
        """Return the token for the page of jobs that begins right before `before`."""
        return self._jobs.seal(_bound_filter(job_filter), _JOB_BODY.pack(before))

    def read_job_page_token(self, job_filter: JobFilter, token: bytes) -> int:
        """Return what the next page of jobs begins right before.

        Raises:
            PageTokenInvalid: it is not a token, or of another store, or not of this filter.
        """
        body = self._open_page(self._jobs, _bound_filter(job_filter), token)
        before: int = _JOB_BODY.unpack(body)[0]
        return before

    @staticmethod
    def _open_page(kind: _Kind, bound: bytes, token: bytes) -> bytes:
        try:
            return kind.open(bound, token, "a page token of this call", "request")
        except _TokenError as why:
            raise PageTokenInvalid([Violation("page_token", str(why))]) from None


class _Kind:
    """One kind of token, known by its letter, whose body has one of `sizes`."""

    def __init__(self, kind: bytes, sizes: range, store_id: bytes, secret: bytes) -> None:
        self._head = bytes([_VERSION]) + kind + store_id[:8]
        if len(self._head) != _HEAD_BYTES:
            raise ValueError("a store id has at least 8 bytes")
        self._sizes = sizes
        # Keyed and begun once: a digest starts from a copy.
        self._hash = blake2b(self._head, key=secret, digest_size=_DIGEST_BYTES)

    def seal(self, bound: bytes, body: bytes) -> bytes:
        return self._head + body + self._digest(bound, body)

    def open(self, bound: bytes, token: bytes, name: str, owner: str) -> bytes:
        """Return the body of a token that `seal` made for the same `bound`, and of no other."""
        if len(token) - _HEAD_BYTES - _DIGEST_BYTES not in self._sizes or token[:2] != self._head[:2]:
            raise _TokenError(f"is not {name}")
        if token[:_HEAD_BYTES] != self._head:
            raise _TokenError("belongs to another store")
        body = token[_HEAD_BYTES:-_DIGEST_BYTES]
        if not hmac.compare_digest(token[-_DIGEST_BYTES:], self._digest(bound, body)):
            raise _TokenError(f"does not belong to this {owner}, or is damaged")
        return body

    def _digest(self, bound: bytes, body: bytes) -> bytes:
        digest = self._hash.copy()
        digest.update(bound)
        digest.update(body)
        return digest.digest()


def _bound(parts: Iterable[str]) -> bytes:
    """Return `parts` as bytes that differ from those of as many other parts, whatever follows."""
    encoded = [part.encode() for part in parts]
    return b"".join([_LENGTH.pack(len(part)) + part for part in encoded])


def _bound_filter(job_filter: JobFilter) -> bytes:
    # The labels are the only part whose number varies, so it goes before them.
    project_id, states, system, job_type, labels, parent_job_id = job_filter
    pairs = [word for pair in sorted(labels.items()) for word in pair]
    return _bound((project_id, _states(states), system, job_type, parent_job_id, str(len(pairs)), *pairs))


def _states(states: Collection[JobState] | Collection[GranuleState]) -> str:
    return ",".join(str(int(state)) for state in sorted(set(states)))

"""The encoder of frames: what a watch sends, as bytes.

A frame is encoded once and sent to every watcher it is for. Changes are encoded one by one as they are
read, and frames put together from them: in protobuf the concatenation of the encoded parts of a message is
the encoding of the whole.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from jobstatus import v1 as pb
from jobstatus_grpc.convert.resources import (
    duration,
    granule_to_pb,
    granules_to_pb,
    job_to_pb,
    timestamp,
    totals_to_pb,
)
from jobstatus_grpc.model import Change, Granule, Job, NewsMode, SubJob, Totals, WholeJob

_LENGTH_DELIMITED: Final = 2
_CHANGE_TAG: Final = bytes((pb.Changes.CHANGES_FIELD_NUMBER << 3 | _LENGTH_DELIMITED,))
_CHANGES_TAG: Final = bytes((pb.WatchJobResponse.CHANGES_FIELD_NUMBER << 3 | _LENGTH_DELIMITED,))
_COUNT_TAG: Final = bytes((pb.Change.CHANGE_COUNT_FIELD_NUMBER << 3,))
_NEWS_MODES: Final = {NewsMode.NOTIFY: pb.NEWS_MODE_NOTIFY, NewsMode.POLL: pb.NEWS_MODE_POLL}


class FrameEncoder:
    """Encodes the frames of `WatchJob`; fulfils `watch.FrameEncoder`."""

    def change(self, change: Change) -> bytes:
        encoded = _change_to_pb(change).SerializeToString()
        return _CHANGE_TAG + _varint(len(encoded)) + encoded

    def counted(self, encoded: bytes, count: int) -> bytes:
        # A part's own tag is one byte; its length goes on while the high bit is set.
        start = 1
        while encoded[start] & 0x80:
            start += 1
        counted = encoded[start + 1 :] + _COUNT_TAG + _varint(count)
        return _CHANGE_TAG + _varint(len(counted)) + counted

    def changes(self, encoded: Sequence[bytes], revision: int, totals: Totals, token: bytes) -> bytes:
        body = b"".join(encoded)
        return _CHANGES_TAG + _varint(len(body)) + body + _frame(revision, totals, token).SerializeToString()

    def snapshot(
        self,
        job: Job,
        sub_jobs: Sequence[WholeJob] | None,
        granules: Sequence[Granule],
        last: bool,
        token: bytes,
    ) -> bytes:
        frame = _frame(job.revision, job.totals, token)
        frame.snapshot.granules.extend(granules_to_pb(granules))
        frame.snapshot.last = last
        if sub_jobs is not None:
            frame.snapshot.job.CopyFrom(job_to_pb(job, sub_jobs))
        return frame.SerializeToString()

    def heartbeat(
        self,
        revision: int,
        totals: Totals,
        token: bytes,
        *,
        lag: float,
        last_report_time: int | None,
        news_mode: NewsMode,
    ) -> bytes:
        frame = _frame(revision, totals, token)
        heartbeat = frame.heartbeat
        heartbeat.server_time.CopyFrom(timestamp(time.time_ns() // 1000))
        heartbeat.lag.CopyFrom(duration(lag))
        if last_report_time is not None:
            heartbeat.last_report_time.CopyFrom(timestamp(last_report_time))
        heartbeat.news_mode = _NEWS_MODES[news_mode]
        return frame.SerializeToString()

    def reset(self, reason: str) -> bytes:
        return pb.WatchJobResponse(
            totals=totals_to_pb(Totals()), reset=pb.Reset(reason=reason)
        ).SerializeToString()

    def reconnect(self, revision: int, totals: Totals, token: bytes, reason: str) -> bytes:
        frame = _frame(revision, totals, token)
        frame.reconnect.reason = reason
        return frame.SerializeToString()

    def completed(self, job: Job, token: bytes) -> bytes:
        frame = _frame(job.revision, job.totals, token)
        frame.completed.job.CopyFrom(job_to_pb(job))
        return frame.SerializeToString()


def _frame(revision: int, totals: Totals, token: bytes) -> pb.WatchJobResponse:
    return pb.WatchJobResponse(revision=revision, totals=totals_to_pb(totals), resume_token=token)


def _change_to_pb(change: Change) -> pb.Change:
    item, revision, when = change.item, change.revision, timestamp(change.change_time)
    if isinstance(item, Job):
        return pb.Change(revision=revision, change_time=when, job=job_to_pb(item))
    if isinstance(item, SubJob):
        return pb.Change(revision=revision, change_time=when, sub_job=job_to_pb(item.job))
    granule = pb.GranuleChange(granule=granule_to_pb(item), previous_state=change.previous_state)  # type: ignore[arg-type]
    return pb.Change(revision=revision, change_time=when, granule=granule)


def _varint(number: int) -> bytes:
    """Return a number, not negative, in protobuf's base 128."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)

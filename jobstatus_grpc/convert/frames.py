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
    failures_to_pb,
    job_to_pb,
    progress_to_pb,
    timestamp,
    totals_to_pb,
)
from jobstatus_grpc.convert.wire import delimited, encode_granule_change, encode_granules, varint
from jobstatus_grpc.digest import Failures
from jobstatus_grpc.model import Change, Granule, Job, NewsMode, Totals, WholeJob
from jobstatus_grpc.pace import NO_PROGRESS, Progress

_CHANGE: Final = pb.Changes.CHANGES_FIELD_NUMBER
_CHANGES: Final = pb.WatchJobResponse.CHANGES_FIELD_NUMBER
_SNAPSHOT: Final = pb.WatchJobResponse.SNAPSHOT_FIELD_NUMBER
_GRANULES: Final = pb.Snapshot.GRANULES_FIELD_NUMBER
_HEARTBEAT: Final = pb.WatchJobResponse.HEARTBEAT_FIELD_NUMBER
_BEAT_FAILURES: Final = pb.Heartbeat.FAILURES_FIELD_NUMBER
_COMPLETED: Final = pb.WatchJobResponse.COMPLETED_FIELD_NUMBER
_END_FAILURES: Final = pb.Completed.FAILURES_FIELD_NUMBER
_COUNT_TAG: Final = bytes((pb.Change.CHANGE_COUNT_FIELD_NUMBER << 3,))
_NEWS_MODES: Final = {NewsMode.NOTIFY: pb.NEWS_MODE_NOTIFY, NewsMode.POLL: pb.NEWS_MODE_POLL}


class FrameEncoder:
    """Encodes the frames of `WatchJob`; fulfils `watch.FrameEncoder`."""

    def change(self, change: Change) -> bytes:
        revision, _, when, item, previous, _ = change
        if isinstance(item, Granule):
            return delimited(_CHANGE, encode_granule_change(item, revision, when, previous))
        encoded = pb.Change(revision=revision, change_time=timestamp(when))
        if isinstance(item, Job):
            encoded.job.CopyFrom(job_to_pb(item))
        else:
            encoded.sub_job.CopyFrom(job_to_pb(item.job))
        return delimited(_CHANGE, encoded.SerializeToString())

    def counted(self, encoded: bytes, count: int) -> bytes:
        # A part's own tag is one byte; its length goes on while the high bit is set.
        start = 1
        while encoded[start] & 0x80:
            start += 1
        return delimited(_CHANGE, encoded[start + 1 :] + _COUNT_TAG + varint(count))

    def changes(self, encoded: Sequence[bytes], revision: int, totals: Totals, token: bytes) -> bytes:
        return delimited(_CHANGES, b"".join(encoded)) + _frame(revision, totals, token).SerializeToString()

    def snapshot(
        self,
        job: Job,
        sub_jobs: Sequence[WholeJob] | None,
        granules: Sequence[Granule],
        last: bool,
        token: bytes,
    ) -> bytes:
        opening = None if sub_jobs is None else job_to_pb(job, sub_jobs)
        rest = pb.Snapshot(job=opening, last=last).SerializeToString()
        frame = _frame(job.revision, job.totals, token).SerializeToString()
        return delimited(_SNAPSHOT, encode_granules(_GRANULES, granules) + rest) + frame

    def heartbeat(
        self,
        revision: int,
        totals: Totals,
        token: bytes,
        *,
        lag: float,
        last_report_time: int | None,
        news_mode: NewsMode,
        failures: bytes = b"",
        progress: Progress = NO_PROGRESS,
    ) -> bytes:
        heartbeat = pb.Heartbeat(progress=_progress_to_pb(progress))
        heartbeat.server_time.CopyFrom(timestamp(time.time_ns() // 1000))
        heartbeat.lag.CopyFrom(duration(lag))
        if last_report_time is not None:
            heartbeat.last_report_time.CopyFrom(timestamp(last_report_time))
        heartbeat.news_mode = _NEWS_MODES[news_mode]
        told = delimited(_BEAT_FAILURES, failures) if failures else b""
        frame = _frame(revision, totals, token).SerializeToString()
        return frame + delimited(_HEARTBEAT, heartbeat.SerializeToString() + told)

    def failures(self, failures: Failures) -> bytes:
        return failures_to_pb(failures).SerializeToString()

    def reset(self, reason: str) -> bytes:
        return pb.WatchJobResponse(
            totals=totals_to_pb(Totals()), reset=pb.Reset(reason=reason)
        ).SerializeToString()

    def reconnect(self, revision: int, totals: Totals, token: bytes, reason: str) -> bytes:
        frame = _frame(revision, totals, token)
        frame.reconnect.reason = reason
        return frame.SerializeToString()

    def completed(
        self, job: Job, token: bytes, failures: bytes = b"", progress: Progress = NO_PROGRESS
    ) -> bytes:
        completed = pb.Completed(job=job_to_pb(job), progress=_progress_to_pb(progress)).SerializeToString()
        told = delimited(_END_FAILURES, failures) if failures else b""
        frame = _frame(job.revision, job.totals, token).SerializeToString()
        return frame + delimited(_COMPLETED, completed + told)


def _frame(revision: int, totals: Totals, token: bytes) -> pb.WatchJobResponse:
    return pb.WatchJobResponse(revision=revision, totals=totals_to_pb(totals), resume_token=token)


def _progress_to_pb(progress: Progress) -> pb.Progress | None:
    return None if progress.rate is None else progress_to_pb(progress)

"""The client's watch and its retries against a server that does what it is told, good or bad."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc
import pytest
from faces import MakeClient
from scripted import UNAVAILABLE, Frame, ScriptedServer, failure

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError, reason_of
from jobstatus_grpc.client.servers import Servers, Turns


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        yield scripted


@pytest.fixture
def client(server: ScriptedServer, make_client: MakeClient) -> Iterator[JobStatusClient]:
    with make_client(server.target, "p", connect_timeout=5) as made:
        yield made


def chunk(revision: int, *granule_ids: str, last: bool = False, token: bytes = b"") -> Frame:
    granules = [pb.Granule(granule_id=name) for name in granule_ids]
    return Frame(revision=revision, resume_token=token, snapshot=pb.Snapshot(granules=granules, last=last))


def change(revision: int) -> Frame:
    item = pb.GranuleChange(granule=pb.Granule(granule_id=f"g{revision}"))
    changes = pb.Changes(changes=[pb.Change(revision=revision, granule=item)])
    return Frame(revision=revision, resume_token=b"t%d" % revision, changes=changes)


def reconnect(token: bytes) -> Frame:
    return Frame(resume_token=token, reconnect=pb.Reconnect(reason="SERVER_DRAINING"))


SNAPSHOT = chunk(1, "a", last=True, token=b"t1")
COMPLETED = Frame(revision=9, resume_token=b"t9", completed=pb.Completed(job=pb.Job(job_id="j")))


def test_a_watch_ends_when_the_job_has_completed(server: ScriptedServer, client: JobStatusClient) -> None:
    server.streams = [[SNAPSHOT, change(2), COMPLETED]]
    assert list(client.frames("j", heartbeat_interval=20)) == [SNAPSHOT, change(2), COMPLETED]
    (asked,) = server.asked
    assert (asked.project_id, asked.job_id, asked.heartbeat_interval.seconds) == ("p", "j", 20)


@pytest.mark.parametrize(
    "broken",
    [
        UNAVAILABLE,
        failure(grpc.StatusCode.CANCELLED),
        failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHES", retry_delay=0.01),
        failure(grpc.StatusCode.INTERNAL, message="Received RST_STREAM with error code 2"),
        failure(grpc.StatusCode.UNKNOWN, message="Stream removed"),
    ],
    ids=lambda status: str(status.code.name),
)
def test_a_broken_watch_goes_on_after_the_last_frame(
    server: ScriptedServer, client: JobStatusClient, broken: grpc.Status
) -> None:
    server.streams = [[SNAPSHOT, change(2), broken], [change(3), broken], [broken], [COMPLETED]]
    breaks: list[JobStatusRpcError] = []
    frames = list(client.frames("j", on_break=breaks.append))
    assert frames == [SNAPSHOT, change(2), change(3), COMPLETED]
    assert server.tokens == [b"", b"t2", b"t3", b"t3"]
    assert [error.code for error in breaks] == [broken.code] * 3


def test_a_watch_starts_from_the_token_it_is_given(server: ScriptedServer, client: JobStatusClient) -> None:
    server.streams = [[UNAVAILABLE], [COMPLETED]]
    assert list(client.frames("j", b"t8")) == [COMPLETED]
    assert server.tokens == [b"t8", b"t8"]


def test_a_snapshot_that_breaks_is_begun_anew_and_says_so(
    server: ScriptedServer, client: JobStatusClient
) -> None:
    server.streams = [
        [chunk(1, "a"), Frame(revision=1, heartbeat=pb.Heartbeat()), UNAVAILABLE],
        [UNAVAILABLE],
        [chunk(2, "a"), chunk(2, "b", last=True, token=b"t2"), UNAVAILABLE],
        [COMPLETED],
    ]
    frames = list(client.frames("j"))
    assert [frame.WhichOneof("frame") for frame in frames] == [
        *("snapshot", "heartbeat", "reset", "snapshot", "snapshot", "completed")
    ]
    assert frames[2].reset.reason == "SNAPSHOT_INTERRUPTED"
    assert server.tokens == [b"", b"", b"", b"t2"]


def test_a_snapshot_after_a_reset_that_breaks_does_not_resume_from_before(
    server: ScriptedServer, client: JobStatusClient
) -> None:
    reset = Frame(reset=pb.Reset(reason="HISTORY_CHANGED"))
    server.streams = [
        [change(7), reset, UNAVAILABLE],
        [chunk(2, "a"), UNAVAILABLE],
        [reset, SNAPSHOT, COMPLETED],
    ]
    kinds = [frame.WhichOneof("frame") for frame in client.frames("j", b"t6")]
    assert kinds == ["changes", "reset", "snapshot", "reset", "snapshot", "completed"]
    assert server.tokens == [b"t6", b"", b""]


def test_a_reconnect_frame_is_followed_at_once_and_not_shown(
    server: ScriptedServer, client: JobStatusClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Turns, "failed", lambda *_: pytest.fail("it must not wait"))
    server.streams = [[SNAPSHOT, reconnect(b"t1"), None], [change(2), reconnect(b""), None], [COMPLETED]]
    assert list(client.frames("j")) == [SNAPSHOT, change(2), COMPLETED]
    assert server.tokens == [b"", b"t1", b"t2"]
    assert server.gone.wait(10)


def test_a_snapshot_that_a_reconnect_ends_is_begun_anew(
    server: ScriptedServer, client: JobStatusClient
) -> None:
    server.streams = [[chunk(1, "a"), reconnect(b"")], [SNAPSHOT, COMPLETED]]
    kinds = [frame.WhichOneof("frame") for frame in client.frames("j")]
    assert kinds == ["snapshot", "reset", "snapshot", "completed"]


def test_a_server_that_only_sends_watches_away_is_not_stormed(
    server: ScriptedServer, client: JobStatusClient
) -> None:
    server.streams = [[reconnect(b"t1")], [reconnect(b"t1")], [COMPLETED]]
    breaks: list[JobStatusRpcError] = []
    assert list(client.frames("j", b"t1", on_break=breaks.append)) == [COMPLETED]
    assert len(breaks) == 2


def test_silence_for_three_heartbeats_breaks_a_watch(server: ScriptedServer, client: JobStatusClient) -> None:
    server.streams = [[SNAPSHOT, None], [COMPLETED]]
    begun = time.monotonic()
    assert list(client.frames("j", heartbeat_interval=0.1)) == [SNAPSHOT, COMPLETED]
    assert 0.3 <= time.monotonic() - begun < 10
    assert server.tokens == [b"", b"t1"]
    assert server.gone.wait(10)


def test_a_consumer_that_takes_its_time_is_not_silence(
    server: ScriptedServer, client: JobStatusClient
) -> None:
    # The stream must be open while the consumer pauses, or there would be nothing to break.
    server.streams = [[SNAPSHOT, 1.0, COMPLETED]]
    breaks: list[JobStatusRpcError] = []
    frames = client.frames("j", heartbeat_interval=0.2, on_break=breaks.append)
    assert next(frames) == SNAPSHOT
    time.sleep(1.0)
    assert next(frames) == COMPLETED
    assert breaks == []


def test_an_ending_without_what_was_promised_is_a_break(
    server: ScriptedServer, client: JobStatusClient
) -> None:
    server.streams = [[SNAPSHOT], [change(2), COMPLETED]]
    assert list(client.frames("j")) == [SNAPSHOT, change(2), COMPLETED]


def test_a_watch_of_only_a_snapshot_ends_with_it(server: ScriptedServer, client: JobStatusClient) -> None:
    server.streams = [[chunk(1, "a"), UNAVAILABLE], [SNAPSHOT]]
    kinds = [frame.WhichOneof("frame") for frame in client.frames("j", snapshot_only=True)]
    assert kinds == ["snapshot", "reset", "snapshot"]
    assert all(request.snapshot_only for request in server.asked)


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL])
def test_an_error_that_stays_is_raised_in_mid_stream(
    server: ScriptedServer, client: JobStatusClient, code: grpc.StatusCode
) -> None:
    # The service's own INTERNAL has a reason, whatever its words are.
    server.streams = [[SNAPSHOT, failure(code, "JOB_DELETED", "socket closed")]]
    frames = client.frames("j")
    assert next(frames) == SNAPSHOT
    with pytest.raises(JobStatusRpcError) as caught:
        next(frames)
    assert (caught.value.code, caught.value.reason) == (code, "JOB_DELETED")
    assert len(server.asked) == 1


def test_a_watch_that_never_began_gives_up_in_time() -> None:
    with JobStatusClient("127.0.0.1:1", connect_timeout=0.5) as client:
        started = time.monotonic()
        with pytest.raises(JobStatusRpcError) as caught:
            next(client.frames("j"))
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - started < 30


def test_a_watch_that_began_outlives_its_server(server: ScriptedServer, client: JobStatusClient) -> None:
    server.streams = [[SNAPSHOT, None]]
    seen = threading.Event()
    frames = client.frames("j", on_break=lambda _: seen.set())
    assert next(frames) == SNAPSHOT
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(list, frames)
        server.server.stop(0).wait(10)
        assert seen.wait(10)
        again = ScriptedServer(server.target, [[change(2), COMPLETED]])
        assert rest.result(60) == [change(2), COMPLETED]
        again.server.stop(0).wait(10)
    assert again.tokens[-1:] == [b"t1"]


def test_a_watch_that_began_gives_up_after_its_patience(
    server: ScriptedServer, client: JobStatusClient
) -> None:
    server.streams = [[SNAPSHOT, None]]
    frames = client.frames("j", patience=0.5)
    assert next(frames) == SNAPSHOT
    server.server.stop(0).wait(10)
    with pytest.raises(JobStatusRpcError) as caught:
        next(frames)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


def test_a_watch_that_is_closed_cancels_its_call(server: ScriptedServer, client: JobStatusClient) -> None:
    server.streams = [[SNAPSHOT, None]]
    frames = client.frames("j")
    with closing(frames):
        assert next(frames) == SNAPSHOT
        assert not server.gone.is_set()
    assert server.gone.wait(10)


def test_closing_the_client_ends_a_waiting_watch(server: ScriptedServer, client: JobStatusClient) -> None:
    server.streams = [[SNAPSHOT, None]]
    frames = client.frames("j")
    assert next(frames) == SNAPSHOT
    threading.Timer(0.1, client.close).start()
    with pytest.raises(JobStatusRpcError) as caught:
        next(frames)
    assert caught.value.code is grpc.StatusCode.CANCELLED
    with pytest.raises(JobStatusRpcError, match="the client is closed"):
        client.get("j")


def test_pauses_grow_and_never_undercut_the_servers_word() -> None:
    error = JobStatusRpcError(grpc.StatusCode.UNAVAILABLE, "")
    for failures, longest in [(0, 0.1), (3, 0.8), (6, 5.0), (2_000, 5.0)]:
        pauses = []
        for _ in range(100):
            turns = Turns(Servers("a:1"))
            turns._failures = failures
            pauses.append(turns.failed(error))
        assert longest / 2 <= min(pauses) < max(pauses) <= longest
    told = JobStatusRpcError(grpc.StatusCode.UNAVAILABLE, "", retry_delay=2.0)
    assert all(1.99 <= Turns(Servers("a:1")).failed(told) <= 2.5 for _ in range(100))


def test_a_unary_call_is_tried_again(server: ScriptedServer, client: JobStatusClient) -> None:
    told = failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_REPORTS", retry_delay=0.01)
    server.answers = [UNAVAILABLE, told, pb.GetJobStatusResponse(job=pb.Job(job_id="j"))]
    assert client.get("j").job.job_id == "j"
    assert len(server.asked) == 3


def test_a_unary_call_does_not_wait_longer_than_it_may(
    server: ScriptedServer, client: JobStatusClient
) -> None:
    server.answers = [failure(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", retry_delay=0.9)] * 9
    with JobStatusClient(server.target, connect_timeout=0.5) as hasty, pytest.raises(JobStatusRpcError):
        hasty.get("j")
    assert len(server.asked) == 1


def test_an_error_tells_what_the_service_told(server: ScriptedServer, client: JobStatusClient) -> None:
    server.answers = [
        failure(
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_PARAMETER_VALUE",
            "job_id: too long",
            violations=(("job_id", "too long"), ("page_size", "negative")),
        )
    ]
    with pytest.raises(JobStatusRpcError) as caught:
        client.get("j")
    error = caught.value
    assert str(error) == "INVALID_PARAMETER_VALUE: job_id: too long"
    assert (error.code, error.message) == (grpc.StatusCode.INVALID_ARGUMENT, "job_id: too long")
    assert [tuple(violation) for violation in error.violations] == [
        ("job_id", "too long", "INVALID"),
        ("page_size", "negative", "INVALID"),
    ]
    assert (error.request_id, error.metadata) == ("r-1", {"job_id": "j"})
    assert reason_of(error) == reason_of(error.__context__ or error) == "INVALID_PARAMETER_VALUE"
    assert reason_of(ValueError()) == ""


def test_granules_are_read_page_after_page(server: ScriptedServer, client: JobStatusClient) -> None:
    def page(*names: str, token: bytes = b"") -> pb.GetJobStatusResponse:
        return pb.GetJobStatusResponse(
            granules=[pb.Granule(granule_id=name) for name in names], next_page_token=token
        )

    server.answers = [page("a", "b", token=b"1"), page(token=b"2"), page("c")]
    states = (state for state in [pb.GRANULE_STATE_FAILED])
    assert [granule.granule_id for granule in client.granules("j", states)] == ["a", "b", "c"]
    assert [request.page_token for request in server.asked] == [b"", b"1", b"2"]
    assert all(request.granule_states == [pb.GRANULE_STATE_FAILED] for request in server.asked)

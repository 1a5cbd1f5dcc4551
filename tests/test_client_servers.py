"""The client among several servers, behind encryption, with credentials, and against time."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import grpc
import pytest
import trustme
from faces import FACES, MakeClient
from processes import ServerProcess
from relay import Relay
from reporting import PENDING, SUCCEEDED, granules, names
from scripted import UNAVAILABLE, Frame, ScriptedServer, Step, failure

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError, Kind
from jobstatus_grpc.client.servers import Servers

ANSWER = pb.GetJobStatusResponse(job=pb.Job(job_id="j"))
SNAPSHOT = Frame(revision=1, resume_token=b"t1", snapshot=pb.Snapshot(last=True))
COMPLETED = Frame(revision=9, resume_token=b"t9", completed=pb.Completed(job=pb.Job(job_id="j")))
DRAINING = Frame(revision=1, resume_token=b"t1", reconnect=pb.Reconnect(reason="SERVER_DRAINING"))
REFUSED = failure(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


@pytest.fixture
def first() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def second() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def refusing() -> str:
    """Return an address where nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("given", ["", " , ", "a:1,,b:2", [], ["a:1", ""]])
def test_an_address_that_is_missing_is_told_at_once(given: Any) -> None:
    with pytest.raises(ValueError, match="address missing"):
        Servers(given)


def test_a_call_goes_to_the_next_server_and_stays_with_who_answers(
    make_client: MakeClient, first: ScriptedServer, second: ScriptedServer
) -> None:
    first.answers = [UNAVAILABLE]
    second.answers = [ANSWER, ANSWER]
    with make_client(f"{refusing()}, {first.target},{second.target}") as client:
        assert client.get("j") == ANSWER
        assert client.get("j") == ANSWER
    assert (len(first.asked), len(second.asked)) == (1, 2)


def test_a_server_is_not_asked_sooner_than_it_has_told_but_others_are(
    make_client: MakeClient, first: ScriptedServer, second: ScriptedServer
) -> None:
    told = failure(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", retry_delay=1.0)
    first.answers, second.answers = [told, ANSWER], [UNAVAILABLE]
    with make_client([first.target, second.target]) as client:
        begun = time.monotonic()
        assert client.get("j") == ANSWER
        assert time.monotonic() - begun >= 1.0
    assert (len(first.asked), len(second.asked)) == (2, 1)


def test_a_server_that_never_answers_leaves_time_for_the_next(
    make_client: MakeClient, first: ScriptedServer, second: ScriptedServer
) -> None:
    first.answers, second.answers = [30.0], [ANSWER]
    with make_client([first.target, second.target], connect_timeout=0.1) as client:
        assert client.get("j", timeout=2.0) == ANSWER


def test_a_call_ends_at_its_deadline(make_client: MakeClient, first: ScriptedServer) -> None:
    first.answers = [30.0]
    with make_client(first.target, timeout=0.3) as client:
        begun = time.monotonic()
        with pytest.raises(JobStatusRpcError) as caught:
            client.get("j")
        assert time.monotonic() - begun < 5
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(first.asked) == 1


def test_a_watch_that_is_sent_away_goes_on_at_the_next_server(
    make_client: MakeClient, first: ScriptedServer, second: ScriptedServer
) -> None:
    first.streams, second.streams = [[SNAPSHOT, DRAINING, None]], [[COMPLETED]]
    with make_client([first.target, second.target]) as client:
        kinds = [frame.WhichOneof("frame") for frame in client.frames("j")]
    assert kinds == ["snapshot", "completed"]
    assert second.tokens == [b"t1"]


def test_a_watch_that_has_grown_old_stays_with_its_server(
    make_client: MakeClient, first: ScriptedServer, second: ScriptedServer
) -> None:
    expired = Frame(revision=1, resume_token=b"t1", reconnect=pb.Reconnect(reason="STREAM_EXPIRED"))
    first.streams = [[SNAPSHOT, expired, None], [COMPLETED]]
    with make_client([first.target, second.target]) as client:
        assert len(list(client.frames("j"))) == 2
    assert second.asked == []


def test_a_watch_leaves_a_server_that_falls_silent(make_client: MakeClient, second: ScriptedServer) -> None:
    with ScriptedServer(streams=[[SNAPSHOT, None]]) as behind, Relay(behind.target) as relay:
        second.streams = [[COMPLETED]]
        breaks: list[JobStatusRpcError] = []
        with make_client([relay.address, second.target]) as client:
            frames = client.frames("j", heartbeat_interval=0.2, on_break=breaks.append)
            assert next(frames) == SNAPSHOT
            relay.stall()
            assert next(frames) == COMPLETED
    assert [error.message for error in breaks] == ["nothing has come from the server for 0.6 s"]


def test_a_watch_ends_with_its_time_however_it_stands(make_client: MakeClient) -> None:
    beat = Frame(revision=1, resume_token=b"t1", heartbeat=pb.Heartbeat())
    pairs: list[list[Step]] = [[beat, 0.1]] * 50
    lively = [SNAPSHOT, *itertools.chain(*pairs)]
    scripts: list[list[Step]] = [[SNAPSHOT, None], [UNAVAILABLE], lively]
    for script in scripts:
        with ScriptedServer(streams=[script, [UNAVAILABLE], [UNAVAILABLE]]) as server:  # noqa: SIM117
            with make_client(server.target) as client:
                server.streams += [[UNAVAILABLE]] * 30
                begun = time.monotonic()
                with pytest.raises(JobStatusRpcError) as caught:
                    list(client.frames("j", timeout=0.5))
                assert 0.4 < time.monotonic() - begun < 5
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def counted() -> Callable[[], str]:
    """Return credentials that are others each time: 1, 2, 3 …"""
    numbers = itertools.count(1)
    return lambda: str(next(numbers))


def test_credentials_are_asked_for_each_call_and_each_stream(
    make_client: MakeClient, first: ScriptedServer
) -> None:
    first.answers = [ANSWER, UNAVAILABLE, ANSWER]
    first.streams = [[SNAPSHOT, UNAVAILABLE], [COMPLETED]]
    with make_client(first.target, credentials=counted()) as client:
        client.get("j")
        client.get("j")
        assert len(list(client.frames("j"))) == 2
    assert first.authorizations == [f"Bearer {number}" for number in range(1, 6)]


def test_without_credentials_nothing_is_said_of_the_caller(
    make_client: MakeClient, first: ScriptedServer
) -> None:
    first.answers = [ANSWER]
    with make_client(first.target) as client:
        client.get("j")
    assert first.authorizations == [""]


def test_credentials_that_have_expired_are_renewed_once(
    make_client: MakeClient, first: ScriptedServer
) -> None:
    first.answers = [REFUSED, ANSWER, REFUSED, REFUSED]
    first.streams = [[SNAPSHOT, REFUSED], [SNAPSHOT, REFUSED], [REFUSED]]
    with make_client(first.target, credentials=counted()) as client:
        assert client.get("j") == ANSWER
        with pytest.raises(JobStatusRpcError, match="TOKEN_EXPIRED"):
            client.get("j")
        frames = client.frames("j")
        assert [next(frames), next(frames)] == [SNAPSHOT, SNAPSHOT]
        with pytest.raises(JobStatusRpcError, match="TOKEN_EXPIRED"):
            next(frames)
    assert first.answers == first.streams == []


def test_credentials_that_stay_the_same_are_not_tried_again(
    make_client: MakeClient, first: ScriptedServer
) -> None:
    first.answers, first.streams = [REFUSED], [[REFUSED]]
    with make_client(first.target, credentials=lambda: "same") as client:
        for call in (lambda: client.get("j"), lambda: list(client.frames("j"))):
            with pytest.raises(JobStatusRpcError, match="TOKEN_EXPIRED"):
                call()


def test_credentials_may_be_awaited(first: ScriptedServer) -> None:
    async def ask() -> str:
        return "awaited"

    first.answers = [ANSWER]
    with FACES["aio"](first.target, credentials=ask) as client:
        client.get("j")
    assert first.authorizations == ["Bearer awaited"]


def test_traffic_is_encrypted_for_a_server_that_proves_who_it_is(make_client: MakeClient) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    pair = issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
    with ScriptedServer(tls=grpc.ssl_server_credentials([pair]), streams=[[COMPLETED]]) as server:
        server.answers = [ANSWER]
        trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        with make_client(server.target, tls=trusted, credentials=lambda: "secret") as client:
            assert client.get("j") == ANSWER
            assert list(client.frames("j")) == [COMPLETED]
        wrong = grpc.ssl_channel_credentials(stranger.cert_pem.bytes())
        for tls in (wrong, None):
            with make_client(server.target, tls=tls, connect_timeout=0.3) as client:  # noqa: SIM117
                with pytest.raises(JobStatusRpcError) as caught:
                    client.get("j")
            assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert server.authorizations == ["Bearer secret"] * 2


def test_two_real_servers_of_one_database_are_one_service(database_url: str, make_client: MakeClient) -> None:
    with (
        ServerProcess(database_url) as one,
        ServerProcess(database_url) as other,
        make_client([one.address, other.address]) as client,
    ):
        job = pb.Job(job_id="j", granules_complete=True)
        client.report_job(job, granules(PENDING, *names(4)))
        updates = client.watch("j", heartbeat_interval=1)
        assert next(updates).kind is Kind.SNAPSHOT
        rest: list[Any] = []
        watching = threading.Thread(target=lambda: rest.extend(updates))
        watching.start()
        for gone, name in ((one, "g000000"), (other, "g000001")):
            gone.kill()
            assert client.report_granules("j", granules(SUCCEEDED, name)).applied_count == 1
            gone.start()
        client.report_granules("j", granules(SUCCEEDED, *names(4)))
        watching.join(60)
    changed = [change.revision for update in rest for change in update.changes]
    assert changed == list(range(6, 6 + len(changed)))
    assert rest[-1].kind is Kind.COMPLETED
    assert rest[-1].totals.succeeded_count == 4


def test_threads_share_a_client(first: ScriptedServer) -> None:
    first.answers = [ANSWER] * 40
    failures: list[Exception] = []

    def ask(client: JobStatusClient) -> None:
        try:
            for _ in range(10):
                client.get("j")
        except Exception as error:
            failures.append(error)

    with JobStatusClient(first.target) as client:
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert failures == []
    assert len(first.asked) == 40

"""The check before handlers of every kind of method, streams from the client among them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import pytest
from credentials import AUDIENCE, ISSUER, Issuer

from jobstatus import v1 as pb
from jobstatus_grpc.security import access
from jobstatus_grpc.security.bearer import BearerTokens
from jobstatus_grpc.security.bearer import Issuer as Trusted
from jobstatus_grpc.status import ErrorInterceptor

SERVICE: Final = "jobstatus.v1.MadeUpService"


class MadeUp:
    """A handler of each kind; tells what has reached it."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def unary(self, request: pb.WatchJobRequest, context: Any) -> pb.WatchJobResponse:
        self.reached.append(request.project_id)
        return pb.WatchJobResponse(revision=1)

    async def upload(self, requests: AsyncIterator[pb.WatchJobRequest], context: Any) -> pb.WatchJobResponse:
        self.reached.append("upload")
        count = 0
        async for request in requests:
            self.reached.append(request.job_id)
            count += 1
        return pb.WatchJobResponse(revision=count)

    async def download(self, request: pb.WatchJobRequest, context: Any) -> AsyncIterator[pb.WatchJobResponse]:
        self.reached.append(request.project_id)
        for revision in range(1, 1000):
            yield pb.WatchJobResponse(revision=revision)
            await asyncio.sleep(0.05)

    async def both(
        self, requests: AsyncIterator[pb.WatchJobRequest], context: Any
    ) -> AsyncIterator[pb.WatchJobResponse]:
        async for request in requests:
            self.reached.append(request.job_id)
            yield pb.WatchJobResponse(revision=len(self.reached))

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        coding = (pb.WatchJobRequest.FromString, pb.WatchJobResponse.SerializeToString)
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary, *coding),
            "Upload": grpc.stream_unary_rpc_method_handler(self.upload, *coding),
            "Download": grpc.unary_stream_rpc_method_handler(self.download, *coding),
            "Both": grpc.stream_stream_rpc_method_handler(self.both, *coding),
            "Undeclared": grpc.unary_unary_rpc_method_handler(self.unary, *coding),
        }


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.fixture(autouse=True)
def _declared(monkeypatch: pytest.MonkeyPatch) -> None:
    scopes = {f"/{SERVICE}/{name}": "jobstatus.read" for name in ("Unary", "Upload", "Download", "Both")}
    monkeypatch.setattr(access, "SCOPE_OF", scopes)


def serving(issuer: Issuer, talk: Callable[[Any, MadeUp], Awaitable[None]]) -> None:
    """Run a conversation with a server of the made up service."""

    async def run() -> None:
        tokens = BearerTokens(Trusted(str(issuer.file), ISSUER, AUDIENCE, "projects", 0.0))
        server = grpc.aio.server(interceptors=[ErrorInterceptor(), access.Access(tokens)])
        made_up = MadeUp()
        server.add_registered_method_handlers(SERVICE, made_up.handlers())
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await talk(channel, made_up)
        finally:
            await server.stop(None)

    asyncio.run(run())


def method(channel: Any, name: str) -> Any:
    """Return a method of the made up service, to be called."""
    kinds = {"Upload": channel.stream_unary, "Download": channel.unary_stream, "Both": channel.stream_stream}
    return kinds.get(name, channel.unary_unary)(
        f"/{SERVICE}/{name}", pb.WatchJobRequest.SerializeToString, pb.WatchJobResponse.FromString
    )


def as_of(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


async def code_of(call: Any) -> grpc.StatusCode:
    """Return how a call ends."""

    async def ended() -> grpc.StatusCode:
        # Of a stream the status comes behind what has not been read.
        with suppress(grpc.aio.AioRpcError):
            while hasattr(call, "read") and await call.read() is not grpc.aio.EOF:
                pass
        code: grpc.StatusCode = await call.code()
        return code

    return await asyncio.wait_for(ended(), 30)


def asked(project_id: str, job_id: str = "j") -> pb.WatchJobRequest:
    return pb.WatchJobRequest(project_id=project_id, job_id=job_id)


def test_the_first_request_of_a_stream_is_checked_before_its_handler_begins(issuer: Issuer) -> None:
    async def talk(channel: Any, made_up: MadeUp) -> None:
        token = issuer.token("mine")
        for name in ("Upload", "Both"):
            for first, code in (("theirs", "PERMISSION_DENIED"), ("", "PERMISSION_DENIED")):
                # And nothing after it: a client that still writes may miss why it has been refused.
                call = method(channel, name)(iter([asked(first)]), metadata=as_of(token))
                assert (await code_of(call)).name == code
            call = method(channel, name)(iter([asked("mine")]))
            assert (await code_of(call)).name == "UNAUTHENTICATED"
            assert made_up.reached == []
        requests = [asked("mine", "a"), asked("", "b"), asked("mine", "c")]
        answer = await method(channel, "Upload")(iter(requests), metadata=as_of(token))
        assert (answer.revision, made_up.reached) == (3, ["upload", "a", "b", "c"])
        assert [
            frame.revision async for frame in method(channel, "Both")(iter(requests), metadata=as_of(token))
        ] == [
            5,
            6,
            7,
        ]
        assert (await method(channel, "Upload")(iter([]), metadata=as_of(token))).revision == 0

    serving(issuer, talk)


def test_a_later_request_of_a_stream_cannot_name_a_project_that_is_not_the_callers(issuer: Issuer) -> None:
    async def talk(channel: Any, made_up: MadeUp) -> None:
        requests = [asked("mine", "a"), asked("theirs", "b")]
        for name in ("Upload", "Both"):
            call = method(channel, name)(iter(requests), metadata=as_of(issuer.token("mine")))
            assert (await code_of(call)).name == "PERMISSION_DENIED"
        assert not {"b", "c"} & set(made_up.reached)

    serving(issuer, talk)


def test_streams_of_every_kind_end_when_the_token_expires(issuer: Issuer) -> None:
    async def endless() -> AsyncIterator[pb.WatchJobRequest]:
        while True:
            yield asked("mine")
            await asyncio.sleep(0.05)

    async def talk(channel: Any, made_up: MadeUp) -> None:
        token = issuer.token("mine", seconds=4)
        calls = [
            method(channel, "Upload")(endless(), metadata=as_of(token)),
            method(channel, "Both")(endless(), metadata=as_of(token)),
            method(channel, "Download")(asked("mine"), metadata=as_of(token)),
        ]
        for call in calls[1:]:
            assert (await call.read()).revision
        assert [(await code_of(call)).name for call in calls] == ["UNAUTHENTICATED"] * 3

    serving(issuer, talk)


def test_a_method_without_a_declared_scope_is_for_nobody(issuer: Issuer) -> None:
    async def talk(channel: Any, made_up: MadeUp) -> None:
        call = method(channel, "Undeclared")(asked("mine"), metadata=as_of(issuer.token()))
        assert (await code_of(call)).name == "PERMISSION_DENIED"
        assert made_up.reached == []
        assert (await method(channel, "Unary")(asked("mine"), metadata=as_of(issuer.token()))).revision == 1

    serving(issuer, talk)


def test_verified_tokens_are_remembered_but_not_all_there_ever_were(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("jobstatus_grpc.security.bearer._REMEMBERED", 3)
    tokens = BearerTokens(Trusted(str(issuer.file), ISSUER, AUDIENCE, "projects", 0.0))
    given = [issuer.token(jti=str(number)) for number in range(10)]
    first = tokens.grant(given[0])
    assert tokens.grant(given[0]) is first
    for token in given:
        tokens.grant(token)
    assert len(tokens._known) == 3
    assert tokens.grant(given[0]) is not first
    assert not any(token in caplog.text for token in given)

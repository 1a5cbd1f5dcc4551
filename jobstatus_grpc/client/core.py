"""How a call is made that is tried again: the same for both clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc

from jobstatus_grpc.client.errors import JobStatusRpcError
from jobstatus_grpc.client.servers import Servers, Turns
from jobstatus_grpc.client.steps import Call, Credentials, Pause, Requests, Steps

DEFAULT_TIMEOUT: Final = 30.0
DEFAULT_CONNECT_TIMEOUT: Final = 10.0


class Core:
    """What every call of a client shares.

    Args:
        addresses: as `Servers` takes them.
        project_id: of every request that names no other.
        connect_timeout: for how many seconds a call is tried again that no server answers.
        timeout: how many seconds a call may take, with all its tries.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        project_id: str,
        connect_timeout: float,
        timeout: float,
    ) -> None:
        self.servers = Servers(addresses)
        self.project_id = project_id
        self.connect_timeout = connect_timeout
        self.timeout = timeout

    def call(self, method: str, request: Requests, timeout: float | None = None) -> Steps[Any]:
        """Call until there is an answer, an error that stays, or no time."""
        start = time.monotonic()
        end = start + (self.timeout if timeout is None else timeout)

        def ask(turns: Turns) -> tuple[Requests, float]:
            # Who is silent must leave some time for the others.
            return request, (end - time.monotonic()) / turns.left_in_round

        return (yield from self.tried(method, ask, end, min(end, start + self.connect_timeout)))

    def tried(
        self, method: str, ask: Callable[[Turns], tuple[Requests, float]], end: float, give_up: float
    ) -> Steps[Any]:
        """Call server after server.

        Args:
            method: the method.
            ask: called before each try; returns the request, and how many seconds the try may take.
            end: until when a server that does not answer in that time is followed by another.
            give_up: until when other errors that may pass are.
        """
        turns = Turns(self.servers)
        while True:
            try:
                request, seconds = ask(turns)
                return (yield from self._called(turns.server, method, request, seconds))
            except JobStatusRpcError as error:
                failure = error
            pause = turns.failed(failure)
            now = time.monotonic()
            if failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
                goes_on = now + pause < end
            else:
                goes_on = failure.retryable and now + pause <= give_up
            if not goes_on:
                raise failure
            yield Pause(pause)

    def _called(self, server: str, method: str, request: Requests, seconds: float) -> Steps[Any]:
        """Call once; once more if the credentials were refused and there are others by now."""
        credentials = yield Credentials()
        try:
            return (yield Call(server, method, request, seconds, credentials))
        except JobStatusRpcError as error:
            if error.code is not grpc.StatusCode.UNAUTHENTICATED:
                raise
            refused = error
        renewed = yield Credentials()
        if renewed == credentials:
            raise refused
        return (yield Call(server, method, request, seconds, renewed))

"""What the client's core wants done, step by step.

The core is written once, as generators: each yields the next step, and is sent what came of it, or has the
`JobStatusRpcError` thrown into it that the step failed with. `blocking` does the steps in the calling
thread, `aio` on an event loop. A generator may be closed at any step, so it tidies up without further steps.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar

from google.protobuf.message import Message

from jobstatus import v1 as pb
from jobstatus_grpc.client.errors import JobStatusRpcError

Answer = TypeVar("Answer")


class Credentials(NamedTuple):
    """Ask the caller's callable for credentials. Comes to them, empty if there is no callable."""


Requests = Message | Sequence[Message]
"""What a method is told: one message, or those of a stream."""

#: Methods whose answer is a stream that ends.
ANSWERED_IN_PARTS: Final = ("ExportJob",)


class Call(NamedTuple):
    """Call a method that answers once, or in parts. Comes to its response, or to the list of them."""

    server: str
    method: str
    request: Requests
    timeout: float
    credentials: str


class Open(NamedTuple):
    """Open a watch's stream. Comes to what `Read` takes and what can be cancelled, with nothing in it yet."""

    server: str
    request: pb.WatchJobRequest
    credentials: str


class Read(NamedTuple):
    """Read a stream. Comes to its next frame, to `None` at an ending with OK.

    Fails with `ServerSilent`, and the stream is cancelled, when no frame comes within so many seconds.
    """

    stream: Any
    within: float


class Leave(NamedTuple):
    """Give up the connection to a server: the next call makes another one. Comes to nothing.

    What else goes on over it fails with CANCELLED, unasked.
    """

    server: str


class Pause(NamedTuple):
    """Wait for so many seconds. Comes to nothing."""

    seconds: float


class Take(NamedTuple):
    """Take the next of what the caller has handed in. Comes to `None` after the last."""

    source: Any


class Give(NamedTuple):
    """Give the caller these items, one after the other. Comes to nothing."""

    items: Iterable[Any]


Step = Credentials | Call | Open | Read | Leave | Pause | Take | Give

Steps = Generator[Step, Any, Answer]
"""Steps that lead to an answer."""


class Course(Generic[Answer]):
    """Steps under way. Use it as a context manager: its end closes them.

    Attributes:
        step: what is to be done now; `None` when all is done.
        answer: what they have led to, once all is done.
    """

    answer: Answer

    def __init__(self, steps: Steps[Answer]) -> None:
        self.step: Step | None = None
        self._steps = steps

    def __enter__(self) -> Self:
        self.done(None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.close()

    def done(self, result: Any) -> None:
        """Go on after a step that has come to `result`."""
        try:
            self.step = self._steps.send(result)
        except StopIteration as end:
            self._end(end)

    def failed(self, error: JobStatusRpcError) -> None:
        """Go on after a step that has failed."""
        try:
            self.step = self._steps.throw(error)
        except StopIteration as end:
            self._end(end)

    def _end(self, end: StopIteration) -> None:
        self.step, self.answer = None, end.value

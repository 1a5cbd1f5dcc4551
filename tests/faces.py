"""Both clients in one shape, so that a test of what they share runs with each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any, Final

from jobstatus_grpc.client import AsyncJobStatusClient, JobStatusClient


class AwaitedClient:
    """An `AsyncJobStatusClient` that is used as a `JobStatusClient`, on an event loop of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="event loop")
        self._thread.start()
        self._client = self._await(self._make(*arguments, **options))

    def __enter__(self) -> AwaitedClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._await(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def close(self) -> None:
        self._await(self._client.close())

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **options: Any) -> Any:
            result = value(*arguments, **options)
            return self._await(result) if asyncio.iscoroutine(result) else self._each(result)

        return call

    async def _make(self, *arguments: Any, **options: Any) -> AsyncJobStatusClient:
        return AsyncJobStatusClient(*arguments, **options)

    def _await(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def _each(self, items: AsyncIterator[Any]) -> Generator[Any, None, None]:
        async def one() -> tuple[Any, ...]:
            async for item in items:
                return (item,)
            return ()

        try:
            while found := self._await(one()):
                yield found[0]
        finally:
            if not self._loop.is_closed():  # Its end has closed what was left open.
                self._await(items.aclose())  # type: ignore[attr-defined]


MakeClient = Callable[..., Any]

FACES: Final[dict[str, MakeClient]] = {"blocking": JobStatusClient, "aio": AwaitedClient}

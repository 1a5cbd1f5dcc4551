"""What the server tells its operator: one event, one line."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import Processor

from jobstatus_grpc.redaction import told, without_secrets

_TALKATIVE: Final = ("sqlalchemy", "alembic", "grpc", "asyncio")
_GATHERING_SECONDS: Final = 0.05
# Whatever ends a line or moves a cursor in some terminal or viewer.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure_logging(
    level: str,
    format: str,  # noqa: A002 - It is the setting's name.
    worker: int | None = None,
) -> None:
    """Send the logs of structlog and of the standard library to stderr.

    May be called again; the last call counts.

    Args:
        level: `debug`, `info`, `warning` or `error`; the libraries' own logs begin at `warning`.
        format: `json`: one JSON object a line. `console`: for people; a traceback takes further lines, all
            indented. `auto`: console on a terminal, else JSON.
        worker: which of several processes this is: every line tells it.
    """
    people = _for_people(format)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([] if worker is None else [_told_by(worker)]),
        _redact,
    ]
    if people:
        shared.append(_escape)
        renderer: Processor = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    else:
        renderer = structlog.processors.JSONRenderer()  # Escapes all but printable ASCII by itself.
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    logging.basicConfig(level=level.upper(), handlers=[_handler(shared, renderer)], force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


class _Gathering:
    """Takes lines on an event loop, and writes those of a moment together.

    Each write lets other threads have their turn, and getting it back takes longer than all the rest.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(_GATHERING_SECONDS, self.pour)
        self._lines.append(line)

    def flush(self) -> None:
        """Leave it to `pour`."""

    def pour(self) -> None:
        lines, self._lines = self._lines, []
        # A log that cannot be written is no reason to fail a call.
        with suppress(OSError):
            self._stream.write("".join(lines))
            self._stream.flush()


class CallLog:
    """Writes a line for each call, on a way of its own: it is most of what is written.

    Lines in JSON are up to a twentieth of a second late. Used on an event loop.

    Args:
        which: `all`, `failed`, `none`, or `auto`: all in JSON, failed ones on a console.
        level: as of `configure_logging`; lines of calls are of level `info`.
        format: as of `configure_logging`, which has been called.
        worker: as of `configure_logging`.
    """

    def __init__(self, which: str, level: str, format: str, worker: int | None) -> None:  # noqa: A002
        people = _for_people(format)
        quiet = which == "none" or logging.getLevelName(level.upper()) > logging.INFO
        self._failed_only = which == "failed" or (which == "auto" and people)
        self._write: Callable[..., None] | None = None
        self._gathering = _Gathering(sys.stderr)
        if quiet:
            return
        log = structlog.get_logger("jobstatus_grpc.calls")
        if not people:
            bound = {"logger": "jobstatus_grpc.calls", "level": "info"}
            log = structlog.wrap_logger(
                structlog.WriteLogger(cast(TextIO, self._gathering)),
                processors=[
                    structlog.processors.TimeStamper(fmt="iso", utc=True),
                    structlog.processors.JSONRenderer(),
                ],
                wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
                cache_logger_on_first_use=True,
            ).bind(**bound, **({} if worker is None else {"worker": worker}))
        self._write = log.info

    def call(self, method: str, code: str, seconds: float, request_id: str, principal: str) -> None:
        """Tell of a call that has ended."""
        if self._write is not None and not (self._failed_only and code == "OK"):
            self._write(
                "call",
                method=method,
                code=code,
                seconds=round(seconds, 6),
                request_id=request_id,
                principal=principal,
            )

    def close(self) -> None:
        """Write what has not been written."""
        self._gathering.pour()


def _for_people(format: str) -> bool:  # noqa: A002
    return format == "console" or (format == "auto" and sys.stderr.isatty())


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Tell an exception without what others may have put into it, and everything else without secrets."""
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = without_secrets(value)
    if isinstance(error, BaseException):
        event["exception"] = told(error)
    return event


def _handler(shared: list[Processor], renderer: Processor) -> logging.Handler:
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    return handler


def _told_by(worker: int) -> Processor:
    def tell(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["worker"] = worker
        return event

    return tell


def _escape(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Write control characters as escapes: a caller's words shall not look like a line of the log."""
    for key, value in event.items():
        if key == "exception":
            event[key] = "\n".join("    " + _plain(line) for line in value.split("\n"))
        elif isinstance(value, str):
            event[key] = _plain(value)
    return event


def _plain(text: str) -> str:
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)

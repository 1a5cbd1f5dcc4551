from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from jobstatus_grpc.telemetry import configure_logging

HOSTILE = "job\n2026-01-01 [error] all is lost\r\x1b[2J\x85\u2028\0end"
LINE_ENDS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        yield
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        root.handlers[:] = handlers
        root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""
    assert not LINE_ENDS.search(err)
    return err.splitlines()


@pytest.mark.parametrize("log_format", ["json", "auto", "console"])
def test_a_hostile_id_does_not_break_its_line(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", log_format)
    structlog.contextvars.bind_contextvars(request_id=HOSTILE)
    structlog.get_logger("ours").info("job_reported", job_id=HOSTILE, ids=[HOSTILE])
    structlog.get_logger("ours").warning("job %s", HOSTILE)
    logging.getLogger("theirs").warning("job %s", HOSTILE)
    written = lines(capsys)
    assert len(written) == 3
    assert all(line.count("all is lost") >= 1 for line in written)


def test_without_a_terminal_a_line_is_a_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "auto")
    structlog.contextvars.bind_contextvars(request_id="r")
    structlog.get_logger("ours").info("job_reported", job_id=HOSTILE)
    (entry,) = [json.loads(line) for line in lines(capsys)]
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "event": "job_reported",
        "job_id": HOSTILE,
        "level": "info",
        "logger": "ours",
        "request_id": "r",
    }


def test_a_traceback_stays_in_its_json_line_and_is_indented_on_a_console(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        try:
            raise RuntimeError(HOSTILE)
        except RuntimeError as error:
            structlog.get_logger("ours").error("call_failed", exc_info=error)
            logging.getLogger("theirs").exception("call_failed")

    configure_logging("info", "json")
    fail()
    entries = [json.loads(line) for line in lines(capsys)]
    assert [entry["exception"].count("RuntimeError") >= 1 for entry in entries] == [True, True]
    configure_logging("info", "console")
    fail()
    written = lines(capsys)
    starts = [number for number, line in enumerate(written) if line and not line.startswith("    ")]
    assert len(starts) == 2
    assert starts[0] == 0
    assert all("call_failed" in written[number] for number in starts)


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "json")
    structlog.get_logger("ours").info("quiet")
    logging.getLogger("theirs").info("quiet")
    structlog.get_logger("ours").warning("loud")
    assert [json.loads(line)["event"] for line in lines(capsys)] == ["loud"]


def test_the_libraries_begin_at_warning_and_keep_to_a_higher_level(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("debug", "json")
    for name in ("sqlalchemy.engine", "grpc._cython"):
        logging.getLogger(name).info("quiet")
        logging.getLogger(name).warning("loud")
    assert [json.loads(line)["event"] for line in lines(capsys)] == ["loud", "loud"]
    configure_logging("error", "json")
    logging.getLogger("sqlalchemy.engine").warning("quiet")
    assert lines(capsys) == []


def test_configuring_again_writes_every_event_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console")
    configure_logging("info", "json")
    structlog.get_logger("ours").info("once")
    assert len(lines(capsys)) == 1

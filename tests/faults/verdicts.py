"""A plugin of pytest that writes down how each test has ended, for a process that has started it.

Of a test that failed it tells whether what it asserts did not hold, or something else broke.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

FILE: Final = "VERDICTS_FILE"
"""The variable of the environment that names the file to write."""

PASSED, ASSERTED = "passed", "asserted"

_verdicts: dict[str, str] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Keep how a test has ended: with what has failed last, before it, in it or after it."""
    report = yield
    if report.outcome != "passed":
        _verdicts[item.nodeid] = _verdict(report.outcome, call)
    elif call.when == "call":
        _verdicts.setdefault(item.nodeid, PASSED)
    return report


def pytest_sessionfinish() -> None:
    """Write everything down, and which code was tested."""
    import jobstatus_grpc

    told = {"package": jobstatus_grpc.__file__, "verdicts": _verdicts}
    Path(os.environ[FILE]).write_text(json.dumps(told))


def _verdict(outcome: str, call: pytest.CallInfo[None]) -> str:
    if call.excinfo is None or outcome == "skipped" or call.when != "call":
        return f"{outcome} in its {call.when}"
    error = call.excinfo.value
    # What `pytest.raises` says; a timeout has the same type.
    missed = isinstance(error, pytest.fail.Exception) and str(error).startswith("DID NOT RAISE")
    return ASSERTED if missed or _is_assertion(error) else f"broke: {call.excinfo.exconly()[:300]}"


def _is_assertion(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_assertion, error.exceptions))
    return isinstance(error, AssertionError)

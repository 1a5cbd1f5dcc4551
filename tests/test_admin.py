"""The admin port, asked over HTTP."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import NoReturn

import pytest

from jobstatus_grpc.admin import AdminPort, Looks


def ask(port: AdminPort, path: str) -> tuple[int, str, str]:
    """Return the status, the type and the text of what is answered."""
    try:
        with urllib.request.urlopen(f"http://{port.address}{path}", timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def broken() -> NoReturn:
    """Be a look that cannot be had."""
    raise ValueError("half a file in /secret")


@pytest.mark.parametrize(("path", "status"), [("/readyz", 503), ("/healthz", 503), ("/metrics", 500)])
def test_a_look_that_cannot_be_had_is_answered_in_plain_text_and_told_in_the_log(
    path: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with AdminPort("127.0.0.1:0", Looks(broken, broken, broken)) as port:
        found = ask(port, path)
        assert found == (status, "text/plain; charset=utf-8", "cannot be told; the log says why\n")
        assert f"{path} cannot be told" in caplog.messages
        assert ask(port, "/elsewhere")[0] == 404


def test_one_broken_look_leaves_the_others_answered() -> None:
    with AdminPort("127.0.0.1:0", Looks(lambda: b"a 1\n", lambda: True, broken)) as port:
        assert ask(port, "/readyz")[0] == 503
        assert ask(port, "/healthz")[::2] == (200, "ok\n")
        assert ask(port, "/metrics")[::2] == (200, "a 1\n")

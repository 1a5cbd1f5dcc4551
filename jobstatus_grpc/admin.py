"""The port for those who look after a server: metrics and probes over HTTP."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple, Self

from jobstatus_grpc.errors import ListenFailed

_log = logging.getLogger(__name__)

_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_TEXT_TYPE: Final = "text/plain; charset=utf-8"
# After how many seconds of silence a connection is closed.
_PATIENCE: Final = 5.0


class Looks(NamedTuple):
    """What can be asked. Called in any thread.

    Attributes:
        metrics: returns them in Prometheus' text format.
        alive: tells whether the process works; if not it should be restarted.
        ready: tells whether calls will be answered.
    """

    metrics: Callable[[], bytes]
    alive: Callable[[], bool]
    ready: Callable[[], bool]


class AdminPort:
    """Answers `/metrics`, `/healthz` and `/readyz`, in threads of its own. Use it as a context manager.

    Args:
        listen: where, `HOST:PORT`.
        looks: what is answered.

    Attributes:
        address: `HOST:PORT` as bound.

    Raises:
        ListenFailed: the address cannot be bound.
    """

    def __init__(self, listen: str, looks: Looks) -> None:
        host, _, port = listen.rpartition(":")
        try:
            self._server = _Server((host.strip("[]"), int(port)), looks)
        except OSError as error:
            raise ListenFailed(listen) from error
        self.address = f"{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="jobstatus-admin", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        _log.info("metrics and probes at %s", self.address)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], looks: Looks) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.looks = looks
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        _log.debug("a connection to the admin port broke", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE
    server_version = "jobstatus"
    sys_version = ""

    def do_GET(self) -> None:
        looks = self.server.looks
        probes = {"/healthz": looks.alive, "/readyz": looks.ready}
        try:
            if self.path == "/metrics":
                answer = 200, _METRICS_TYPE, looks.metrics()
            elif self.path in probes:
                answer = (200, _TEXT_TYPE, b"ok\n") if probes[self.path]() else (503, _TEXT_TYPE, b"not ok\n")
            else:
                answer = 404, _TEXT_TYPE, b"there are /metrics, /healthz and /readyz\n"
        except Exception:
            # Who asks takes a connection without an answer for a dead process.
            _log.warning("%s cannot be told", self.path, exc_info=True)
            answer = 503 if self.path in probes else 500, _TEXT_TYPE, b"cannot be told; the log says why\n"
        self._answer(*answer)

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - It is the base class's name.
        """Say nothing: what comes from outside is no line of the log."""

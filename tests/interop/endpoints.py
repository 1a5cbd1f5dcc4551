"""A system's HTTP endpoint, which answers with what ExportJob writes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from jobstatus_grpc import errors
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError
from jobstatus_grpc.formats import FORMATS


@contextmanager
def endpoint(client: JobStatusClient, form: str) -> Iterator[str]:
    """Serve documents in a form, and give the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            job_id = unquote(self.path.rpartition("/")[2])
            try:
                status, text = 200, client.export_job(job_id, form)
            except JobStatusRpcError as error:
                answer = FORMATS[form].render_error(_told(error, job_id), error.request_id)
                status, text = answer.status, json.dumps(answer.body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.send_header("X-Request-Id", "r-1")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


def _told(error: JobStatusRpcError, job_id: str) -> errors.JobStatusError:
    """Return the service's error as the forms take it."""
    if error.reason == errors.JobNotFound.reason:
        return errors.JobNotFound("default", job_id)
    if error.violations:
        return errors.InvalidRequest(error.violations)
    return errors.StoreUnavailable()

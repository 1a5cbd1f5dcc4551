"""Documents as a client of gRPC's own sends and takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import grpc

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusRpcError

CHUNK: Final = 1024 * 1024


def requests(text: bytes, **first: str) -> Iterator[pb.ImportJobsRequest]:
    """Yield a text in messages."""
    yield pb.ImportJobsRequest(chunk=text[:CHUNK], **first)
    for start in range(CHUNK, len(text), CHUNK):
        yield pb.ImportJobsRequest(chunk=text[start : start + CHUNK])


def text_of(document: object) -> bytes:
    """Return a document as text."""
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def orca_document(job_id: str, words: list[str]) -> dict[str, Any]:
    """Return ORCA's answer about a job whose granules are in these states."""
    entries = [
        {"collectionId": "c", "granuleId": f"g{index:06d}", "status": word}
        for index, word in enumerate(words)
    ]
    totals = {word: words.count(word) for word in ("pending", "staged", "success", "error")}
    return {"asyncOperationId": job_id, "jobStatusTotals": totals, "granules": entries}


class Documents:
    """The service's own stub, for the jobs of a project. Use it as a context manager."""

    def __init__(self, address: str, project_id: str = "") -> None:
        self.project_id = project_id
        self._channel = grpc.insecure_channel(address)
        self.stub = pb.JobDocumentServiceStub(self._channel)

    def __enter__(self) -> Documents:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def take(self, document: object, **first: str) -> list[pb.ImportedJob]:
        """Import a document."""
        told = requests(text_of(document), project_id=self.project_id, **first)
        return list(self.stub.ImportJobs(told, timeout=120).results)

    def take_one(self, document: object, **first: str) -> pb.ImportedJob:
        """Import a document of one job that is taken."""
        (result,) = self.take(document, **first)
        assert not result.HasField("status"), result
        return result

    def text(self, job_id: str, form: str = "") -> bytes:
        """Return a job's document as text."""
        request = pb.ExportJobRequest(project_id=self.project_id, job_id=job_id, format=form)
        return b"".join(part.chunk for part in self.stub.ExportJob(request, timeout=120))

    def show(self, job_id: str, form: str = "") -> Any:
        """Return a job's document."""
        return json.loads(self.text(job_id, form))

    def refusal(self, document: object, **first: str) -> JobStatusRpcError:
        """Return why a document of one job is refused, in its result."""
        (result,) = self.take(document, **first)
        assert (result.job_id, result.HasField("applied_count")) == ("", False)
        return JobStatusRpcError.of_status(result.status)

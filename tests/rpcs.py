"""Every rpc of every service of the contract, as its descriptors tell it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import jobstatus.v1
from jobstatus_grpc.client import JobStatusRpcError

_MODULES: Final = [
    importlib.import_module(f"jobstatus.v1.{module.name}")
    for module in pkgutil.iter_modules(jobstatus.v1.__path__)
    if module.name.endswith("_pb2")
]
RPCS: Final[Sequence[MethodDescriptor]] = [
    rpc
    for module in _MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for rpc in service.methods
]


def path_of(rpc: MethodDescriptor) -> str:
    """Return the name under which an rpc is called."""
    assert rpc.containing_service is not None
    return f"/{rpc.containing_service.full_name}/{rpc.name}"


def aimed_at(rpc: MethodDescriptor, project_id: str, job_id: str = "j") -> Any:
    """Return a request of an rpc about a job of a project, wherever it has places for them."""
    request = GetMessageClass(rpc.input_type)()
    _aim(request, project_id, job_id)
    for field in request.DESCRIPTOR.fields:
        inner = field.message_type
        if inner is not None and not field.is_repeated and "project_id" in inner.fields_by_name:
            _aim(getattr(request, field.name), project_id, job_id)
    return request


def _aim(message: Any, project_id: str, job_id: str) -> None:
    names = message.DESCRIPTOR.fields_by_name
    if "project_id" in names:
        message.project_id = project_id
    if "job_id" in names:
        message.job_id = job_id
    if "granule_id" in names:
        message.granule_id = "g"
    if "job_ids" in names:
        message.job_ids.append(job_id)
    if "chunk" in names:
        message.chunk = b'{"job_id": "j", "status": "SUCCESS"}'
    if "granules" in names and "job_id" in names:
        message.granules.add(granule_id="g")


def call(
    channel: Any,
    rpc: MethodDescriptor,
    request: Message | bytes,
    authorization: str = "",
    timeout: float = 30,
) -> list[Any]:
    """Call an rpc; return what it answers.

    Raises:
        JobStatusRpcError: it answered with an error.
    """
    data = request if isinstance(request, bytes) else request.SerializeToString()
    metadata = [("authorization", authorization)] if authorization else []
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    method = kinds[rpc.client_streaming, rpc.server_streaming](path_of(rpc), None, None)
    given: Any = iter([data]) if rpc.client_streaming else data
    try:
        answers = method(given, timeout=timeout, metadata=metadata)
        found = list(answers) if rpc.server_streaming else [answers]
    except grpc.RpcError as error:
        raise JobStatusRpcError.of(error) from error
    return [GetMessageClass(rpc.output_type).FromString(answer) for answer in found]


def refusal_of(
    channel: Any, rpc: MethodDescriptor, request: Message | bytes, authorization: str = ""
) -> JobStatusRpcError:
    """Return what a call is refused with."""
    try:
        answers = call(channel, rpc, request, authorization)
    except JobStatusRpcError as error:
        return error
    raise AssertionError(f"{rpc.full_name} answered {answers}")

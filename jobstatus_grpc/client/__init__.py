"""The client. `JobStatusClient` is for threads, `AsyncJobStatusClient` for event loops; they do the same.

Calls are tried again where that may help, and watches resume by themselves:

    calls        `core` (tries), `queries`, `reports`
    watches      `watching` (streams), `updates` (what their frames prove)
    whom to ask  `servers`; what to show them `credentials`
    the world    `steps` (what is to be done), `blocking` and `aio` (who does it), `channels`, `silence`
"""

from jobstatus_grpc.client.aio import AsyncJobStatusClient as AsyncJobStatusClient
from jobstatus_grpc.client.blocking import JobStatusClient as JobStatusClient
from jobstatus_grpc.client.channels import open_channel as open_channel
from jobstatus_grpc.client.credentials import tls_from_files as tls_from_files
from jobstatus_grpc.client.credentials import token_from_file as token_from_file
from jobstatus_grpc.client.errors import BrokenPromise as BrokenPromise
from jobstatus_grpc.client.errors import ClientClosed as ClientClosed
from jobstatus_grpc.client.errors import JobStatusRpcError as JobStatusRpcError
from jobstatus_grpc.client.errors import reason_of as reason_of
from jobstatus_grpc.client.queries import ListOptions as ListOptions
from jobstatus_grpc.client.queries import Until as Until
from jobstatus_grpc.client.updates import Kind as Kind
from jobstatus_grpc.client.updates import Update as Update
from jobstatus_grpc.client.watching import DEFAULT_HEARTBEAT_INTERVAL as DEFAULT_HEARTBEAT_INTERVAL

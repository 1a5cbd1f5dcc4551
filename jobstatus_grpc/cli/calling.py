"""The commands that call a server: what all of them can be told about the way there."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

from jobstatus_grpc.cli import options

Task = Callable[[], int]
"""What a command does; returns its exit status."""


class Way(NamedTuple):
    """How a server is called.

    Attributes:
        tls: whether to encrypt.
        ca_file: the server's authorities; empty for the system's.
        cert_file: the client's certificate; empty for none.
        key_file: its key.
        token_file: where the token is; empty for none.
        token: the token itself; empty for none. The file goes before it.
    """

    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    token_file: str = ""
    token: str = ""


def _taken(
    tls: options.Tls = False,
    ca_file: options.CaFile = "",
    cert_file: options.CertFile = "",
    key_file: options.KeyFile = "",
    token_file: options.TokenFile = "",
) -> Way:
    return Way(tls, ca_file, cert_file, key_file, token_file, os.environ.get("JOBSTATUS_TOKEN", ""))


_PARAMETERS = inspect.signature(_taken, eval_str=True).parameters


def calling(command: Callable[..., Task]) -> Callable[..., Task]:
    """Return a command that takes the options of the way to a server, too, and goes it."""

    @wraps(command)
    def with_way(**given: Any) -> Task:
        way = _taken(**{name: given.pop(name) for name in _PARAMETERS})
        task = command(**given)

        def go() -> int:
            # gRPC's core writes lines of its own beside the error that tells the same; it looks when loaded.
            os.environ.setdefault("GRPC_VERBOSITY", "NONE")
            from jobstatus_grpc.cli.connection import going

            with going(way):
                return task()

        return go

    signature = inspect.signature(command, eval_str=True)
    parameters = [*signature.parameters.values(), *_PARAMETERS.values()]
    with_way.__dict__["__signature__"] = signature.replace(parameters=parameters)
    with_way.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_way

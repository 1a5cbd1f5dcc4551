"""Details of jobs, between the model and the wire.

Both name their fields alike, so what goes over the names of a message goes for every system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message

from jobstatus import v1 as pb
from jobstatus_grpc.convert.faults import Faults
from jobstatus_grpc.errors import InvalidRequest
from jobstatus_grpc.json_text import faults as faults_of_text
from jobstatus_grpc.json_text import load, member
from jobstatus_grpc.model import Details, DetailValue

DetailsMessage: TypeAlias = pb.OrcaDetails | pb.SdrsDetails | pb.SfsTurboDetails | pb.GlacierDetails

MESSAGES: Final[Mapping[str, type[DetailsMessage]]] = {
    "orca": pb.OrcaDetails,
    "sdrs": pb.SdrsDetails,
    "sfs_turbo": pb.SfsTurboDetails,
    "glacier": pb.GlacierDetails,
}
# Fields that keep what a message has no place for: a JSON text by each name.
_JSON_FIELDS: Final = ("other_fields", "other_entities")


def details_to_pb(details: Details) -> DetailsMessage:
    """Return details as a reader gets them, in the message of their system."""
    fields: Any = details.fields
    return MESSAGES[details.system](**fields)


def read_details(system: str, message: DetailsMessage, faults: Faults) -> Details:
    """Return what a reporter says in the details of a job of `system`.

    A text that ought to be JSON and is none is added to `faults`.
    """
    return Details(system, _fields(message, system, faults))


def _fields(message: Message, path: str, faults: Faults) -> dict[str, DetailValue]:
    found: dict[str, DetailValue] = {}
    for field, value in message.ListFields():
        if field.name in _JSON_FIELDS:
            _check_json(value, f"{path}.{field.name}", faults)
        found[field.name] = _value(value, f"{path}.{field.name}", faults)
    return found


def _value(value: Any, path: str, faults: Faults) -> DetailValue:
    if isinstance(value, Message):
        return _fields(value, path, faults)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_value(inner, f"{path}[{index}]", faults) for index, inner in enumerate(value)]
    found: DetailValue = value
    return found


def _check_json(texts: Mapping[str, str], path: str, faults: Faults) -> None:
    for name, text in texts.items():
        here = member(path, name)
        try:
            loaded = load(text)
        except InvalidRequest as error:
            faults.add(here, error.violations[0].description)
            continue
        for violation in faults_of_text(loaded.value, "$") if loaded.marked else ():
            faults.add(here, f"at {violation.field}: {violation.description}")

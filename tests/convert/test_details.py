"""Details between the model and the wire; what documents tell goes both ways in the tests of the forms."""

from __future__ import annotations

from typing import Any

from jobstatus import v1 as pb
from jobstatus_grpc.convert.details import MESSAGES, details_to_pb, read_details
from jobstatus_grpc.convert.faults import Faults
from jobstatus_grpc.formats import FORMATS
from jobstatus_grpc.formats.glacier_shapes import DETAILS
from jobstatus_grpc.formats.shapes import Kind, ListOf, Shape, What
from jobstatus_grpc.model import Details


def read(message: pb.SdrsDetails) -> tuple[Details, list[tuple[str, str]]]:
    faults = Faults()
    details = read_details("sdrs", message, faults)
    return details, [(fault.field, fault.description) for fault in faults.found]


def test_what_is_not_there_is_told_apart_from_what_is_empty() -> None:
    details, faults = read(pb.SdrsDetails(entities=pb.SdrsEntities(nic_id="")))
    assert details.fields == {"entities": {"nic_id": ""}}
    assert faults == []
    assert read(pb.SdrsDetails())[0].fields == {}
    wire = details_to_pb(Details("sdrs", {"entities": {}}))
    assert isinstance(wire, pb.SdrsDetails)
    assert (wire.HasField("entities"), wire.entities.HasField("nic_id")) == (True, False)


def test_what_ought_to_be_json_and_is_none_is_a_fault() -> None:
    message = pb.SdrsDetails(other_fields={"good": "[1]", "bad": "[1", "a b": '{"x": 1, "x": NaN}'})
    message.entities.other_entities["deep"] = "[" * 10_000
    assert sorted(read(message)[1]) == [
        ("sdrs.entities.other_entities.deep", "is nested more than 64 levels deep"),
        ("sdrs.other_fields.bad", "is not JSON: Expecting ',' delimiter at line 1 column 3"),
        ('sdrs.other_fields["a b"]', "at $.x: NaN is not JSON"),
        ('sdrs.other_fields["a b"]', "at $.x: is there more than once"),
    ]


def test_every_system_that_has_a_form_has_a_message() -> None:
    assert {form.system for form in FORMATS.values()} == set(MESSAGES)


def test_the_shape_of_glaciers_description_is_its_message() -> None:
    def compare(shape: Shape, descriptor: Any) -> None:
        names = {field.name for field in descriptor.fields} - {"other_fields"}
        assert {field.name for field in shape.fields.values()} == names
        for field in shape.fields.values():
            inner(field.what, descriptor.fields_by_name[field.name])

    def inner(what: What, field: Any) -> None:
        shape = what.shape if isinstance(what, ListOf) else what
        assert field.is_repeated == (isinstance(what, ListOf) or what is Kind.TEXTS)
        if isinstance(shape, Shape):
            compare(shape, field.message_type)

    compare(DETAILS, pb.GlacierDetails.DESCRIPTOR)

"""Whatever a document tells comes out again, and later reports change nothing but what they are about."""

from __future__ import annotations

import json
from typing import Any

import pytest
from documents import FORMS, Document
from hypothesis import given
from hypothesis import strategies as st
from shelf import Shelf, parsed, unordered

from jobstatus_grpc.convert.details import MESSAGES, details_to_pb, read_details
from jobstatus_grpc.convert.faults import Faults
from jobstatus_grpc.formats import own_form
from jobstatus_grpc.model import JobReport
from jobstatus_grpc.sizes import details_bytes

NAMES = list(FORMS)
SYSTEMS = ["orca", "sdrs", "sfs-turbo", "glacier"]


def comparable(document: Any) -> str:
    """Return a document as text that tells 1 from 1.0 and from true, with ORCA's granules as a set."""
    value = unordered(document) if "asyncOperationId" in document else document
    return json.dumps(value, sort_keys=True)


def rendered_alike(shelf: Shelf) -> str:
    form = own_form(shelf.document)
    assert form is not None
    return comparable(shelf.rendered(form))


def reports_in(report: JobReport) -> list[JobReport]:
    return [report, *(inner for part in report.sub_jobs for inner in reports_in(part))]


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_document_comes_out_as_it_went_in(name: str, data: st.DataObject) -> None:
    document = data.draw(FORMS[name])
    assert rendered_alike(Shelf.of(document, name)) == comparable(document)


@pytest.mark.parametrize("name", SYSTEMS[1:])
@given(data=st.data())
def test_a_later_document_comes_out_as_it_went_in_too(name: str, data: st.DataObject) -> None:
    first, second = data.draw(FORMS[name]), data.draw(FORMS[name])
    shelf = Shelf.of(first, name)
    shelf.take(second, name)
    assert rendered_alike(shelf) == comparable(second)


@given(data=st.data())
def test_a_later_document_of_the_same_granules_comes_out_too(data: st.DataObject) -> None:
    first = data.draw(FORMS["orca"])
    words = st.sampled_from(["pending", "staged", "success", "failed", "error", "lost"])
    second: Document = {
        **first,
        "granules": [{**entry, "status": data.draw(words)} for entry in first["granules"]],
    }
    shelf = Shelf.of(first, "orca")
    shelf.take(second, "orca")
    assert rendered_alike(shelf) == comparable(second)


@pytest.mark.parametrize("name", SYSTEMS)
@given(data=st.data())
def test_what_is_told_goes_over_the_wire_and_into_a_database(name: str, data: st.DataObject) -> None:
    document = data.draw(FORMS[name])
    found = parsed(document, name)
    kept = [granule.document or "" for granule in found.granules]
    for report in reports_in(found.job):
        details, faults = report.details, Faults()
        assert details is not None
        message = details_to_pb(details)
        # As a field of a job it has a tag of two bytes, and a length.
        assert message.ByteSize() + 2 + 5 <= details_bytes(details)
        wire = MESSAGES[details.system].FromString(message.SerializeToString())
        assert read_details(details.system, wire, faults) == details
        assert faults.found == []
        kept += [report.document or "", json.dumps(details.fields)]
    assert all("\0" not in text and text.encode() is not None for text in kept)
    assert found.job.details is not None
    others = found.job.details.fields.get("other_fields", {})
    assert isinstance(others, dict)
    for key, text in others.items():
        assert json.dumps(json.loads(text)) == json.dumps(document[key])

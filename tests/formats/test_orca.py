"""ORCA's documents as they are, and everything that can be wrong with them."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shelf import parsed

from jobstatus_grpc.errors import INVALID, MISSING, InvalidRequest, Violation
from jobstatus_grpc.formats import Parsed, documents
from jobstatus_grpc.json_text import MAX_DEPTH
from jobstatus_grpc.model import GranuleReport, GranuleState

DATA = Path(__file__).parent.parent / "data" / "orca"

GOOD: dict[str, Any] = {
    "asyncOperationId": "op-1",
    "jobStatusTotals": {"pending": 1, "staged": 0, "success": 1, "error": 0},
    "granules": [
        {"collectionId": "C___1", "granuleId": "a", "status": "pending"},
        {"collectionId": "C___1", "granuleId": "b", "status": "success"},
    ],
}


def parse(text: str | bytes, project_id: str = "default") -> Parsed:
    return parsed(text, "orca", project_id)


def plain(granules: tuple[GranuleReport, ...]) -> tuple[GranuleReport, ...]:
    """Return granules less what is kept of their entries."""
    return tuple(granule._replace(document=None) for granule in granules)


def changed(**fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), **fields}


def faults(document: object) -> dict[str, str]:
    """Refuse `document`, text or to be written as text, and return what is wrong by its path."""
    text = document if isinstance(document, str | bytes) else json.dumps(document)
    with pytest.raises(InvalidRequest) as caught:
        parse(text)
    found = {violation.field: violation.description for violation in caught.value.violations}
    assert len(found) == len(caught.value.violations)
    return found


def test_a_document_of_the_current_form_is_read_granule_by_granule() -> None:
    text = (DATA / "recovery_current_form.json").read_text()
    raw = json.loads(text)
    job, granules = parse(text, "archive")
    assert (job.key, job.system, job.job_type) == (
        ("archive", raw["asyncOperationId"]),
        "orca",
        "recovery",
    )
    assert (job.state, job.native_state, job.granules_complete) == (None, None, True)
    assert {granule.document for granule in granules} == {""}
    assert [(g.collection_id, g.granule_id, g.native_state) for g in granules] == [
        (entry["collectionId"], entry["granuleId"], entry["status"]) for entry in raw["granules"]
    ]
    assert Counter(g.state for g in granules) == {
        GranuleState.PENDING: 27,
        GranuleState.STAGED: 19,
        GranuleState.SUCCEEDED: 143,
        GranuleState.FAILED: 11,
    }


def test_a_document_of_the_documented_form_is_read_alike() -> None:
    job, granules = parse((DATA / "recovery_seed_form.json").read_bytes())
    assert job.job_id
    assert {g.collection_id for g in granules} == {""}
    assert Counter((g.state, g.native_state) for g in granules) == {
        (GranuleState.PENDING, "pending"): 5,
        (GranuleState.SUCCEEDED, "success"): 31,
        (GranuleState.FAILED, "failed"): 4,
    }


def test_a_document_without_collections_is_read() -> None:
    granules = parse((DATA / "recovery_v6_form.json").read_text()).granules
    assert [g.state for g in granules] == [
        GranuleState.SUCCEEDED,
        GranuleState.SUCCEEDED,
        GranuleState.FAILED,
        GranuleState.PENDING,
    ]


def test_both_forms_may_be_mixed_in_one_document() -> None:
    document = {
        "asyncOperationId": "op-1",
        "job_status_totals": {"failed": 2},
        "jobStatusTotals": {"error": 2},
        "granules": [
            {"granule_id": "a", "status": "failed"},
            {"granuleId": "b", "collection_id": "C", "status": "error"},
            {"granuleId": "c", "granule_id": "c", "status": "staged"},
        ],
    }
    assert plain(parse(json.dumps(document)).granules) == (
        GranuleReport("", "a", GranuleState.FAILED, "failed"),
        GranuleReport("C", "b", GranuleState.FAILED, "error"),
        GranuleReport("", "c", GranuleState.STAGED, "staged"),
    )


def test_one_granule_id_in_two_collections_is_two_granules() -> None:
    granules = [
        {"collectionId": "C", "granuleId": "a", "status": "error"},
        {"collectionId": "D", "granuleId": "a", "status": "success"},
    ]
    assert len(parse(json.dumps(changed(granules=granules))).granules) == 2


def test_a_word_orca_did_not_have_is_kept_without_a_state() -> None:
    document = changed(granules=[{"granuleId": "a", "status": "Staged"}])
    assert plain(parse(json.dumps(document)).granules) == (GranuleReport("", "a", None, "Staged"),)


def test_totals_are_not_believed_nor_needed() -> None:
    document = changed(jobStatusTotals={"pending": 99, "lost": "many"})
    assert len(parse(json.dumps(document)).granules) == 2
    del document["jobStatusTotals"]
    assert len(parse(json.dumps(document)).granules) == 2


def test_keys_that_are_not_orcas_are_kept_beside_what_is_read() -> None:
    document = changed(requestedBy={"name": ["x"]})
    document["granules"][0]["retries"] = 1e3
    read, good = parse(json.dumps(document)), parse(json.dumps(GOOD))
    assert plain(read.granules) == plain(good.granules)
    assert [granule.document for granule in read.granules] == [json.dumps(document["granules"][0]), ""]
    assert read.job.details is not None
    assert read.job.details.fields["other_fields"] == {"requestedBy": '{"name": ["x"]}'}


def test_a_byte_order_mark_is_not_part_of_the_document() -> None:
    assert parse("\ufeff" + json.dumps(GOOD)) == parse(json.dumps(GOOD).encode("utf-8-sig"))


def test_an_error_answer_is_refused_in_orcas_words() -> None:
    told = faults((DATA / "not_found.json").read_bytes())["$"]
    assert "404 NotFound: No granules found for job id 'nope'. (request c8a1b6c4" in told


@pytest.mark.parametrize("text", ["", "{", "nope", "{} {}", "\x00", '{"a": 1,}'])
def test_text_that_is_not_json_is_refused(text: str) -> None:
    assert "is not JSON" in faults(text)["$"]


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    assert faults(b'{"a": "\xff"}') == {"$": "is not UTF-8 at byte 7"}


@pytest.mark.parametrize(
    ("text", "kind"),
    [("[[]]", "an array"), ("null", "null"), ("3", "a number"), ('"x"', "a string"), ("true", "true")],
)
def test_a_document_that_is_no_object_is_refused(text: str, kind: str) -> None:
    (found,) = faults(text).values()
    assert found == f"must be an object, is {kind}"


def test_an_empty_object_misses_the_job_and_its_granules() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse("{}")
    assert [violation.field for violation in caught.value.violations] == ["$.asyncOperationId", "$.granules"]
    assert caught.value.reason == MISSING


@pytest.mark.parametrize(
    ("field", "value", "path", "words"),
    [
        ("asyncOperationId", "", "$.asyncOperationId", "must not be empty"),
        ("asyncOperationId", None, "$.asyncOperationId", "must be a string, is null"),
        ("asyncOperationId", 7, "$.asyncOperationId", "must be a string, is a number"),
        ("asyncOperationId", "a\x00b", "$.asyncOperationId", "must not contain control characters"),
        ("asyncOperationId", "a\x85b", "$.asyncOperationId", "must not contain control characters"),
        ("asyncOperationId", "é" * 257, "$.asyncOperationId", "must be at most 512 bytes, is 514"),
        ("asyncOperationId", "\ud800", "$.asyncOperationId", "must not contain half a surrogate pair"),
        ("granules", {}, "$.granules", "must be an array, is an object"),
        ("granules", None, "$.granules", "must be an array, is null"),
        ("granules", ["x"], "$.granules[0]", "must be an object, is a string"),
        ("granules", [{"granuleId": "a"}], "$.granules[0].status", "is missing"),
        ("granules", [{"status": "error"}], "$.granules[0].granuleId", "is missing"),
        (
            "granules",
            [{"granuleId": "a", "status": True}],
            "$.granules[0].status",
            "must be a string, is true",
        ),
        (
            "granules",
            [{"granuleId": "a", "status": "error", "collectionId": []}],
            "$.granules[0].collectionId",
            "must be a string, is an array",
        ),
        (
            "granules",
            [{"granuleId": "a", "granule_id": "b", "status": "error"}],
            "$.granules[0].granule_id",
            "must be the same as granuleId",
        ),
        ("jobStatusTotals", [], "$.jobStatusTotals", "must be an object, is an array"),
        ("jobStatusTotals", {"error": "3"}, "$.jobStatusTotals.error", "must be a number, is a string"),
        ("jobStatusTotals", {"error": True}, "$.jobStatusTotals.error", "must be a number, is true"),
        ("job_status_totals", {"failed": -1}, "$.job_status_totals.failed", "must not be negative"),
    ],
)
def test_a_fault_is_named_by_its_path(field: str, value: object, path: str, words: str) -> None:
    assert faults(changed(**{field: value})) == {path: words}


def test_every_fault_is_named_at_once() -> None:
    document = changed(asyncOperationId=1, jobStatusTotals={"pending": None})
    document["granules"] = [{"granuleId": "a", "status": "error"}, 5, {"granuleId": "", "status": 0}]
    with pytest.raises(InvalidRequest) as caught:
        parse(json.dumps(document))
    assert [violation.field for violation in caught.value.violations] == [
        "$.asyncOperationId",
        "$.jobStatusTotals.pending",
        "$.granules[1]",
        "$.granules[2].granuleId",
        "$.granules[2].status",
    ]
    assert caught.value.reason == INVALID


def test_entries_of_one_granule_are_named_with_both_their_places() -> None:
    entry = {"collectionId": "C", "granuleId": "a", "status": "success"}
    other = {"collectionId": "C", "granuleId": "b", "status": "success"}
    assert faults(changed(granules=[entry, other, entry, other, entry])) == {
        "$.granules[2]": "is the same granule as $.granules[0]: 'a' of collection 'C'",
        "$.granules[3]": "is the same granule as $.granules[1]: 'b' of collection 'C'",
        "$.granules[4]": "is the same granule as $.granules[0]: 'a' of collection 'C'",
    }


def test_an_id_of_512_bytes_is_taken() -> None:
    assert parse(json.dumps(changed(asyncOperationId="é" * 256))).job.job_id == "é" * 256


def test_keys_that_are_there_more_than_once_are_named() -> None:
    text = '{"asyncOperationId": "x", "asyncOperationId": "x", "granules": [{"granuleId": "a", "status": \
        "error", "note": {"k": 1, "k": 1}, "status": "error"}]}'
    assert faults(text) == {
        "$.asyncOperationId": "is there more than once",
        "$.granules[0].status": "is there more than once",
        "$.granules[0].note.k": "is there more than once",
    }


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_only_python_takes_for_a_number_is_refused(word: str) -> None:
    text = json.dumps(GOOD)[:-1] + f', "odd key": {word}}}'
    assert faults(text) == {'$["odd key"]': f"{word} is not JSON"}


def test_numbers_beyond_reading_are_refused() -> None:
    text = json.dumps(GOOD)[:-1] + ', "a": 1e999, "b": ' + "9" * 5000 + "}"
    assert faults(text) == {"$.a": "is too great a number", "$.b": "has more than 4300 digits"}


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900, 200_000])
def test_a_document_nested_too_deep_is_refused(depth: int) -> None:
    inner = depth - 1
    found = faults(json.dumps(GOOD)[:-1] + ', "x": ' + "[" * inner + "]" * inner + "}")
    assert list(found.values()) == [f"is nested more than {MAX_DEPTH} levels deep"]


def test_a_document_nested_as_deep_as_allowed_is_read() -> None:
    inner = MAX_DEPTH - 1
    assert parse(json.dumps(GOOD)[:-1] + ', "x": ' + "[" * inner + "]" * inner + "}").job.job_id == "op-1"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
PIECES = st.sampled_from(
    ["asyncOperationId", "jobStatusTotals", "granules", "granuleId", "granule_id", "status", "errorType"]
)


@given(
    st.binary()
    | st.text()
    | JSON.map(json.dumps)
    | st.dictionaries(PIECES, JSON | st.lists(st.dictionaries(PIECES, JSON))).map(json.dumps)
)
def test_whatever_is_read_is_either_a_document_or_refused(text: str | bytes) -> None:
    refused: list[Violation] = []
    try:
        for document in documents(text, "orca"):
            job, granules = document.parse("default")
            assert job.job_id
            assert len({granule.key for granule in granules}) == len(granules)
    except InvalidRequest as error:
        refused += error.violations
    for violation in refused:
        assert violation.field.startswith("$")
        f"{violation.field}{violation.description}".encode()


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)


@given(
    st.lists(
        st.tuples(NAMES, NAMES, st.sampled_from(["pending", "staged", "success", "error"])),
        unique_by=lambda entry: entry[:2],
    )
)
def test_what_is_written_is_read_again(entries: list[tuple[str, str, str]]) -> None:
    written = [{"collectionId": c, "granuleId": g, "status": s} for c, g, s in entries]
    read = parse(json.dumps(changed(granules=written))).granules
    assert [(g.collection_id, g.granule_id, g.native_state) for g in read] == entries

"""JSON of others, read with limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from documents import anything
from hypothesis import given
from hypothesis import strategies as st

from jobstatus_grpc import json_text
from jobstatus_grpc.errors import InvalidRequest
from jobstatus_grpc.json_text import MAX_CONTAINERS, MAX_DEPTH, dump, faults, load, member


def refused(text: str | bytes) -> str:
    with pytest.raises(InvalidRequest) as caught:
        load(text)
    (violation,) = caught.value.violations
    assert violation.field == "$"
    return violation.description


@given(anything)
def test_what_json_has_is_read_and_written_as_it_is(value: Any) -> None:
    loaded = load(json.dumps(value))
    assert list(faults(loaded.value, "$")) == []
    assert json.dumps(loaded.value) == json.dumps(value) == json.dumps(json.loads(dump(value)))
    dump(value).encode()


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 2**53 + 1, 10**4000])
def test_no_whole_number_goes_through_a_float(number: int) -> None:
    assert load(str(number)).value == number
    assert dump(number) == str(number)


@pytest.mark.parametrize("pattern", ["[", '{"a":', '[{"a":', '[[],{"a":[],"b":'])
@pytest.mark.parametrize("closed", [True, False])
def test_no_depth_reaches_the_stack(pattern: str, closed: bool) -> None:
    opened = [char for char in pattern.replace("[]", "") if char in "[{"]
    closing = "".join({"[": "]", "{": "}"}[char] for char in reversed(opened))
    text = pattern * 200_000 + "1" + (closing * 200_000 if closed else "")
    assert refused(text) == f"is nested more than {MAX_DEPTH} levels deep"


@given(st.text(alphabet='[]{}",:\\ 1ab', max_size=300))
def test_whatever_the_brackets_a_text_is_read_or_refused(text: str) -> None:
    try:
        value = load(text).value
    except InvalidRequest:
        with pytest.raises(ValueError):
            json.loads(text)
    else:
        assert value == json.loads(text)


def test_brackets_in_texts_are_no_depth() -> None:
    text = json.dumps({"a": "[" * 1000, 'b"\\': ["{" * 1000 + '"\\'] * 3})
    assert load(text) == (json.loads(text), False)


def test_a_text_of_too_many_parts_is_refused() -> None:
    most = "[" + "{}," * (MAX_CONTAINERS - 2) + "{}]"
    assert len(load(most).value) == MAX_CONTAINERS - 1
    assert refused(most[:-1] + ",[]]") == f"has more than {MAX_CONTAINERS} objects and arrays"


@pytest.mark.parametrize("depth", range(MAX_DEPTH - 1, MAX_DEPTH + 5))
def test_the_depth_that_may_be_is_exact(depth: int) -> None:
    text = "1"
    for level in range(depth):
        text = f"[{text}]" if level % 2 else f'{{"a": {text}}}'
    loaded = load(text)
    found = [fault.description for fault in faults(loaded.value, "$")]
    assert found == ([] if depth <= MAX_DEPTH else [f"is nested more than {MAX_DEPTH} levels deep"])
    assert loaded.marked or depth <= MAX_DEPTH


def test_a_path_is_plain_text_whatever_the_keys() -> None:
    assert member("$", "job_id") == "$.job_id"
    assert member("$", "a b") == '$["a b"]'
    assert member("$.a", "\n\ud800") == '$.a["\\n\\ud800"]'
    assert len(member("$", "x" * 10_000)) < 250


def test_a_mark_is_found_in_the_part_it_is_in_and_no_other() -> None:
    loaded = load('{"a": {"x": 1, "x": 2}, "b": [-Infinity, 1e999], "c": {}}')
    assert loaded.marked
    assert [fault.field for fault in faults(loaded.value["a"], "$.a")] == ["$.a.x"]
    assert [fault.field for fault in faults(loaded.value["b"], "$.b")] == ["$.b[0]", "$.b[1]"]
    assert list(faults(loaded.value["c"], "$.c")) == []


def test_the_longest_text_may_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "MAX_TEXT_BYTES", 10)
    assert load(b'"12345678"').value == "12345678"
    assert refused(b'"123456789"') == "takes more than 10 bytes"

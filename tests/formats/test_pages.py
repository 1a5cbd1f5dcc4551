"""The pages about the systems name what the forms have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from jobstatus_grpc.formats import FORMATS, glacier, orca, sdrs, sfs_turbo
from jobstatus_grpc.formats.orca_granules import COLLECTION_IDS, GRANULE_IDS, STATES
from jobstatus_grpc.formats.tasks import TaskFormat

DOCS = Path(__file__).parent.parent.parent / "docs"
OVERVIEW = (DOCS / "systems.md").read_text()
ROOMS: dict[str, Any] = {"orca": orca, "sdrs": sdrs, "sfs_turbo": sfs_turbo, "glacier": glacier}


def words_of(page: str) -> set[str]:
    """Return every word of a page that is set as code, and the keys at the ends of paths."""
    words = set(re.findall(r"`([^`\n]+)`", (DOCS / "systems" / f"{page}.md").read_text()))
    return words | {word.rpartition(".")[2] for word in words}


@pytest.mark.parametrize("form", list(FORMATS))
def test_the_overview_has_every_form(form: str) -> None:
    assert f"`{form}`" in OVERVIEW
    assert f"systems/{FORMATS[form].system}.md" in OVERVIEW


@pytest.mark.parametrize("page", list(ROOMS))
def test_a_page_has_every_key_state_and_error(page: str) -> None:
    words = words_of(page)
    for form in ROOMS[page].FORMS:
        if isinstance(form, TaskFormat):
            keys = {form.id_key, form.state_key, *form.texts, *form.times, *form.fact_keys}
            assert keys | set(form.shape.fields) | set(form.states) <= words
        else:
            assert {*GRANULE_IDS, COLLECTION_IDS[0], *STATES, "granules", "asyncOperationId"} <= words
    assert {code for _, code in ROOMS[page]._ANSWERS.values()} <= words


def test_the_lines_of_the_overview_run(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", OVERVIEW, re.MULTILINE | re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out.splitlines() == [
        "sfs-turbo 26f6b565 FAILED disk",
        ", ".join(FORMATS),
    ]

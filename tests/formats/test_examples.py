"""The documents the systems themselves show, in and out."""

from __future__ import annotations

import pytest
from documents import EXAMPLES
from shelf import Shelf, data, unordered

from jobstatus_grpc.formats import own_form


@pytest.mark.parametrize(("form", "name"), EXAMPLES, ids=[name for _, name in EXAMPLES])
@pytest.mark.parametrize("told", [True, False], ids=["told", "detected"])
def test_an_example_comes_out_as_it_went_in(form: str, name: str, told: bool) -> None:
    document = data(name)
    shelf = Shelf.of(document, form if told else "auto")
    assert own_form(shelf.document) == form
    out = shelf.rendered(form)
    if "granules" in document:
        document, out = unordered(document), unordered(out)
    assert out == document
    assert list(out) == list(document)

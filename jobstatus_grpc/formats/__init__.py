"""Documents of other systems: each system's JSON to the model and back. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from jobstatus_grpc.errors import MISSING, InvalidRequest, Violation
from jobstatus_grpc.formats import glacier, orca, sdrs, sfs_turbo
from jobstatus_grpc.formats.base import Entry, ErrorAnswer, Format, Parsed
from jobstatus_grpc.formats.kept import own_form
from jobstatus_grpc.json_text import load
from jobstatus_grpc.model import WholeJob

__all__ = [
    "AUTO",
    "FORMATS",
    "Document",
    "ErrorAnswer",
    "Format",
    "Parsed",
    "documents",
    "form_named",
    "form_of",
    "own_form",
]

#: Stands for the form that a document shows.
AUTO: Final = "auto"
#: Every form, by its name.
FORMATS: Final[Mapping[str, Format]] = {
    form.name: form for form in (*orca.FORMS, *sdrs.FORMS, *sfs_turbo.FORMS, *glacier.FORMS)
}


class Document(NamedTuple):
    """One job's document in a text, on its own or out of a list.

    Attributes:
        entry: what it says, and where it stands in the text.
        form: the form it is in; `None` if it shows none.
        broken: what is wrong with the list it may be, so that no documents are found in it.
    """

    entry: Entry
    form: Format | None
    broken: InvalidRequest | None = None

    def parse(self, project_id: str) -> Parsed:
        """Return what it says.

        Args:
            project_id: the project it comes from, which no document tells.

        Raises:
            InvalidRequest: it is broken, or of no known form. Every fault is named, by its path.
        """
        if self.broken is not None:
            raise self.broken
        if self.form is None:
            text = f"is of none of the forms that are known here: {', '.join(FORMATS)}"
            raise InvalidRequest([Violation(self.entry.path, text)])
        return self.form.parse(self.entry, project_id)


def form_named(name: str) -> Format:
    """Return the form of that name.

    Raises:
        InvalidRequest: there is none.
    """
    if name not in FORMATS:
        raise InvalidRequest([Violation("format", f"must be one of {', '.join(FORMATS)}")])
    return FORMATS[name]


def form_of(whole: WholeJob) -> Format:
    """Return the form of a job's latest document, or of its system if it never had one.

    Raises:
        InvalidRequest: it has neither.
    """
    own = own_form(whole.document)
    form = next((form for form in FORMATS.values() if form.system == whole.job.system), None)
    form = form if own is None else FORMATS.get(own, form)
    if form is None:
        text = f"is required, for the job has no form of its own: one of {', '.join(FORMATS)}"
        raise InvalidRequest([Violation("format", text, MISSING)])
    return form


def documents(text: str | bytes, form: str = AUTO) -> list[Document]:
    """Return the documents in a JSON text: one, an array of some, or a system's own list of jobs.

    They are not looked at yet: each is parsed on its own, and harms no other.

    Args:
        text: as UTF-8 if bytes.
        form: the name of the form they are in; `AUTO` for the one that each shows.

    Raises:
        InvalidRequest: the text is no JSON or too large, or there is no such form.
    """
    named = None if form == AUTO else form_named(form)
    loaded = load(text)
    if isinstance(loaded.value, list):
        whole = [Entry(value, f"$[{index}]", loaded.marked) for index, value in enumerate(loaded.value)]
    else:
        whole = [Entry(loaded.value, "$", loaded.marked)]
    return [document for entry in whole for document in _documents_in(entry, named)]


def _documents_in(entry: Entry, named: Format | None) -> Iterator[Document]:
    form = named or _form_of(entry)
    try:
        parts = [entry] if form is None else form.entries(entry)
    except InvalidRequest as error:
        parts = []
        yield Document(entry, form, error)
    for part in parts:
        # A list shows no more than whose it is.
        shown = form if part is entry else _form_of(part) or form
        yield Document(part, named or shown)


def _form_of(entry: Entry) -> Format | None:
    return next((form for form in FORMATS.values() if form.detects(entry.value)), None)

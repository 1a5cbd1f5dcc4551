"""What is kept of a document beside the job it told of: `JobReport.document`.

The document without what has a place of its own: granules and sub-jobs are empty arrays where they stood.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from jobstatus_grpc.json_text import dump


class Kept(NamedTuple):
    """A kept document.

    Attributes:
        form: the form it is written in.
        source: the document, less what is kept elsewhere.
        sub_jobs: the ids of its sub-jobs, in its order; `None` if it had no array of them.
        entry: the keys that most entries of granules have; `None` if it had no granules.
        counts: how many granules it told to be in each state, in the order of `Totals`.
    """

    form: str
    source: Mapping[str, Any]
    sub_jobs: Sequence[str] | None = None
    entry: Sequence[str] | None = None
    counts: Sequence[int] | None = None

    @classmethod
    def of(cls, document: str | None) -> Self | None:
        """Return what `JobReport.document` keeps."""
        return None if document is None else cls(**json.loads(document))

    def text(self) -> str:
        """Return it as `JobReport.document` has it."""
        return dump({name: value for name, value in self._asdict().items() if value is not None})


def own_form(document: str | None) -> str | None:
    """Return the form that a job's document is written in; `None` if the job has none."""
    kept = Kept.of(document)
    return None if kept is None else kept.form

"""Callers: their names, what they may do, and for which projects."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

READ: Final = "jobstatus.read"
REPORT: Final = "jobstatus.report"
ADMIN: Final = "jobstatus.admin"
SCOPES: Final = frozenset((READ, REPORT, ADMIN))

ALL_PROJECTS: Final = "*"


class Principal(NamedTuple):
    """A caller.

    Attributes:
        name: for the log.
        scopes: what the caller may do; those of other services are among them.
        projects: the projects the caller may see; `*` for all.
    """

    name: str
    scopes: frozenset[str]
    projects: frozenset[str]

    def sees(self, project_id: str) -> bool:
        """Return whether a project is among the caller's."""
        return project_id in self.projects or ALL_PROJECTS in self.projects


class Grant(NamedTuple):
    """What a call's credentials have proved.

    Attributes:
        principal: who calls.
        expires: until when it holds, in seconds since 1970; infinite if it does not end.
    """

    principal: Principal
    expires: float


def principals(contents: Sequence[bytes]) -> Mapping[str, Principal]:
    """Return the principals of a file, by the subject alternative names of their certificates.

    It is TOML: a table `principals`, in it one for each name (`reporter.example.org`,
    `spiffe://example.org/reporter`) with the lists `scopes` and `projects`.

    Raises:
        ValueError: names what is wrong, all of it.
    """
    (data,) = contents
    try:
        document = tomllib.loads(data.decode())
    except ValueError as error:
        raise ValueError(f"it is not TOML: {error}") from None
    table = document.get("principals")
    if not isinstance(table, dict) or not table or len(document) > 1:
        raise ValueError("it is not one table `principals`, with something in it")
    faults = [fault for name, entry in table.items() for fault in _faults(name, entry)]
    if faults:
        raise ValueError("; ".join(faults))
    return {
        name: Principal(name, frozenset(entry["scopes"]), frozenset(entry["projects"]))
        for name, entry in table.items()
    }


def _faults(name: str, entry: Any) -> Iterable[str]:
    if not isinstance(entry, dict) or entry.keys() != {"scopes", "projects"}:
        yield f"{name!r} has other keys than scopes and projects"
        return
    for key, value in entry.items():
        if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
            yield f"{key} of {name!r} is not a list of texts"
        elif key == "scopes" and (unknown := set(value) - SCOPES):
            yield f"{name!r} has unknown scopes: {', '.join(sorted(unknown))}"

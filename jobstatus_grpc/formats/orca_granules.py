"""The granules of ORCA's answer: entries read into reports, and granules written as entries."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from jobstatus_grpc.errors import NotRepresentable, Violation
from jobstatus_grpc.formats.reader import Reader
from jobstatus_grpc.json_text import dump, kind
from jobstatus_grpc.model import MAX_GRANULE_BYTES, Granule, GranuleKey, GranuleReport, GranuleState

GRANULE_IDS: Final = ("granuleId", "granule_id")
COLLECTION_IDS: Final = ("collectionId", "collection_id")
STATES: Final[Mapping[str, GranuleState]] = {
    "pending": GranuleState.PENDING,
    "staged": GranuleState.STAGED,
    "success": GranuleState.SUCCEEDED,
    "failed": GranuleState.FAILED,
    "error": GranuleState.FAILED,
}
# How many entries go into one piece of a text.
_PIECE: Final = 1_000


class Words(NamedTuple):
    """How one form of the answer calls things.

    Attributes:
        form: its name.
        totals: the key of the counts.
        granule_id: the key of a granule's id.
        collection_id: the key of its collection; empty if the form has none.
        failed: the word for a granule given up.
    """

    form: str
    totals: str
    granule_id: str
    collection_id: str
    failed: str

    def of(self, state: GranuleState) -> str:
        """Return the word for a state that has one."""
        return self.failed if state is GranuleState.FAILED else _WORDS[state]


_WORDS: Final = {state: word for word, state in STATES.items()}


class Entries(NamedTuple):
    """The granules of a document.

    Attributes:
        reports: in the order of the document.
        keys: those that most plain entries have, in their order; empty if there is none.
    """

    reports: tuple[GranuleReport, ...]
    keys: tuple[str, ...]


def read_granules(reader: Reader, source: Mapping[str, Any], path: str) -> Entries:
    """Return what the entries of a document tell; its faults are noted."""
    here = f"{path}.granules"
    if "granules" not in source:
        reader.missing(here)
        return Entries((), ())
    entries = source["granules"]
    if not isinstance(entries, list):
        reader.fault(here, f"must be an array, is {kind(entries)}")
        return Entries((), ())
    found: dict[GranuleKey, int] = {}
    reports: list[GranuleReport] = []
    read: list[tuple[str, dict[str, Any]]] = []
    for index, entry in enumerate(entries):
        place = f"{here}[{index}]"
        report = _read_granule(reader, entry, place)
        if report is None:
            continue
        first = found.setdefault(report.key, index)
        if first != index:
            reader.fault(place, f"is the same granule as {here}[{first}]: {named(report)}")
        reports.append(report)
        read.append((place, entry))
    keys = _usual_keys(entry for _, entry in read)
    usual = set(keys)
    return Entries(
        tuple(
            report._replace(document=_rest(reader, entry, usual, place))
            for report, (place, entry) in zip(reports, read, strict=True)
        ),
        keys,
    )


def _read_granule(reader: Reader, entry: Any, path: str) -> GranuleReport | None:
    source = reader.mapping(entry, path)
    if source is None:
        return None
    collection_id = _alike(reader, source, COLLECTION_IDS, path, required=False)
    granule_id = _alike(reader, source, GRANULE_IDS, path)
    word = reader.word(source, "status", path)
    if collection_id is None or granule_id is None:
        return None
    return GranuleReport(collection_id, granule_id, STATES.get(word or ""), word)


def _alike(
    reader: Reader, source: Mapping[str, Any], keys: tuple[str, str], path: str, *, required: bool = True
) -> str | None:
    """Return the word under one of `keys`, `None` if it is wrong, "" if it is not there and need not be."""
    key = keys[0] if keys[0] in source or keys[1] not in source else keys[1]
    if key is keys[0] and keys[1] in source and source[keys[1]] != source[key]:
        reader.fault(f"{path}.{keys[1]}", f"must be the same as {key}")
    if not required and source.get(key) in (None, ""):
        return ""
    return reader.word(source, key, path)


def _usual_keys(entries: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the keys that most of the entries have that have nothing but what columns hold."""
    counted = Counter(map(tuple, entries))
    plain = [(count, keys) for keys, count in counted.items() if _plain(keys)]
    return max(plain, key=lambda pair: pair[0])[1] if plain else ()


def _plain(keys: tuple[str, ...]) -> bool:
    ids = sum(key in keys for key in GRANULE_IDS)
    collections = sum(key in keys for key in COLLECTION_IDS)
    return ids == 1 and collections <= 1 and "status" in keys and len(keys) == 2 + collections


def _rest(reader: Reader, entry: Mapping[str, Any], usual: set[str], path: str) -> str:
    """Return the entry where columns cannot hold all of it, else nothing."""
    if entry.keys() == usual and all(entry.get(key, "") is not None for key in COLLECTION_IDS):
        return ""
    text = dump(entry)
    reader.limit(text, MAX_GRANULE_BYTES, path)
    return text


def named(granule: GranuleReport | Granule) -> str:
    """Return a granule's name as a sentence has it."""
    within = f" of collection '{granule.collection_id}'" if granule.collection_id else ""
    return f"'{granule.granule_id}'{within}"


class GranuleWriter:
    """Writes granules as the entries of a document.

    Args:
        words: of the form.
        keys: the usual keys of the document that is written anew; empty if there is none.
        own: whether what is kept of the granules is written in this form.
        foreign: whether the job is another system's, whose words mean nothing here.
    """

    def __init__(self, words: Words, keys: Sequence[str], own: bool, foreign: bool) -> None:
        self._words = words
        self._own = own
        self._foreign = foreign
        whole = [words.collection_id] if words.collection_id else []
        self._keys = list(keys) or [*whole, words.granule_id, "status"]
        self._has_collections = any(key in self._keys for key in COLLECTION_IDS)
        self._plain = _template(self._keys)
        self._collected = _template([words.collection_id, *self._keys]) if words.collection_id else None

    def pieces(self, granules: Iterable[Granule]) -> Iterator[str]:
        """Yield the entries, parted by commas, many in a piece."""
        rest = iter(granules)
        separator = ""
        while part := list(islice(rest, _PIECE)):
            yield separator + ", ".join(map(self._text, part))
            separator = ", "

    def _text(self, granule: Granule) -> str:
        if granule.document:
            return dump(self._anew(granule, json.loads(granule.document)))
        template = self._plain
        if granule.collection_id and not self._has_collections:
            if self._collected is None:
                raise self._not_representable(
                    granule, f"has no place for its collection '{granule.collection_id}'"
                )
            template = self._collected
        return template % {
            "collection": dump(granule.collection_id),
            "granule": dump(granule.granule_id),
            "status": dump(self._word(granule)),
        }

    def _anew(self, granule: Granule, entry: dict[str, Any]) -> dict[str, Any]:
        """Return the entry that was kept of a granule, as it is now."""
        stated = entry["status"]
        if not self._own:
            plain: dict[str, Any] = json.loads(self._text(granule._replace(document=None)))
            known = (*GRANULE_IDS, *COLLECTION_IDS, "status")
            return plain | {key: value for key, value in entry.items() if key not in known}
        if (STATES.get(stated, GranuleState.UNSPECIFIED), stated) != (granule.state, granule.native_state):
            entry["status"] = self._word(granule)
        return entry

    def _word(self, granule: Granule) -> str:
        state, native = granule.state, granule.native_state
        if state is GranuleState.UNSPECIFIED:
            if native is None or self._foreign:
                raise self._not_representable(granule, f"its state is '{native}', which ORCA does not have")
            return native
        word = self._words.of(state)
        return native if self._own and native is not None and STATES.get(native) is state else word

    def _not_representable(self, granule: Granule, description: str) -> NotRepresentable:
        violation = Violation(f"granules[{named(granule)}]", description)
        return NotRepresentable(self._words.form, [violation])


def _template(keys: Iterable[str]) -> str:
    roles = dict.fromkeys(GRANULE_IDS, "granule") | dict.fromkeys(COLLECTION_IDS, "collection")
    parts = (f"{dump(key)}: %({roles.get(key, 'status')})s" for key in keys)
    return f"{{{', '.join(parts)}}}"

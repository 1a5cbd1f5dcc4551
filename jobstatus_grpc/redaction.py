"""What no line of the log may have: secrets, and what libraries put into their exceptions."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import PurePath
from typing import Final

# The rest of a URL is where it leads, and may have a password in any part.
_URL: Final = re.compile(r"\b([a-z][a-z0-9+.-]*)://[^\s'\"<>]*[@?][^\s'\"<>]*", re.IGNORECASE)
_KEYED: Final = re.compile(
    r"\b(password|passwd|pwd|secret|token|api[_-]?key|sslpassword|authorization)(['\"]?\s*[=:]\s*)"
    r"('[^']*'|\"[^\"]*\"|[^\s,;&'\"]+)",
    re.IGNORECASE,
)
_BEARER: Final = re.compile(r"\bbearer\s+\S+", re.IGNORECASE)
_TOKEN: Final = re.compile(r"\beyJ[\w-]{5,}\.[\w-]*\.?[\w-]*")
_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*-----|\Z)", re.DOTALL)

_ANY_URL: Final = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)
_DSN: Final = re.compile(
    r"\b(host|hostaddr|port|user|dbname|sslmode|sslkey|options)\s*=\s*\S+", re.IGNORECASE
)
# In small letters only what no other sentence has.
_STATEMENT: Final = re.compile(
    r"(\[SQL:|\[parameters:|\bLINE \d+:|\b(SELECT|UPDATE|WITH|CREATE|ALTER|DROP|COPY|MERGE|CALL)\s+\S"
    r"|(?i:\b(insert\s+into|delete\s+from|select\s.*?\sfrom|update\s+\S+\s+set|alter\s+table)\s)).*",
    re.DOTALL,
)
_PATH: Final = re.compile(r"(?<![\w/.])(~|\.{1,2})?(/[^\s/:'\",;()]+){2,}/?|\b[A-Za-z]:\\[^\s'\"]+")


def without_secrets(text: str) -> str:
    """Return a text without passwords, tokens and private keys."""
    if len(text) < _SHORTEST and ":" not in text and "=" not in text:
        return text
    text = _KEY.sub("[key]", text)
    text = _URL.sub(r"\1://[redacted]", text)
    text = _BEARER.sub("Bearer [redacted]", text)
    text = _TOKEN.sub("[token]", text)
    return _KEYED.sub(r"\1\2[redacted]", text)


# Nothing shorter is a secret, unless it is named.
_SHORTEST: Final = 12


def words_of(error: BaseException) -> str:
    """Return an exception's words, without secrets, and without statements, paths and addresses."""
    text = without_secrets(str(error))
    text = _ANY_URL.sub("[url]", text)
    text = _STATEMENT.sub("[statement]", text)
    text = _DSN.sub(r"\1=[redacted]", text)
    return _PATH.sub("[path]", text)


def told(error: BaseException) -> str:
    """Return an exception as the log tells it: where it came from, and its redacted words, causes first.

    As Python's own traceback, but for the source lines and the directories, and for what `words_of` leaves
    out.
    """
    return "\n".join(line for each in _chain(error) for line in _lines(each))


def _chain(error: BaseException) -> Iterator[BaseException]:
    found = [error]
    while (before := found[-1].__cause__ or found[-1].__context__) is not None and before not in found:
        found.append(before)
    yield from reversed(found)


def _lines(error: BaseException) -> Iterator[str]:
    yield f"{type(error).__name__}: {words_of(error)}"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"  {_place(frame.filename)}:{frame.lineno} in {frame.name}"
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from (f"  {line}" for line in _lines(each))


def _place(file: str) -> str:
    """Return a file from its package on."""
    parts = PurePath(file).parts
    start = next((i + 1 for i, part in enumerate(parts) if part in ("site-packages", "dist-packages")), None)
    return "/".join(parts[start:] if start is not None else parts[-3:])

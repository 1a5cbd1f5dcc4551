"""The file of settings."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from jobstatus_grpc.errors import ConfigInvalid, Violation

DEFAULT_FILE: Final = "jobstatus.toml"
"""Read from the working directory, if it is there and no other file is named."""


def read_settings(path: str) -> Mapping[str, Any]:
    """Return the content of a file of settings, in TOML; of the default file nothing, if it is not there.

    Args:
        path: the file; empty for the default one.

    Raises:
        ConfigInvalid: it cannot be read.
    """
    try:
        return tomllib.loads(Path(path or DEFAULT_FILE).read_bytes().decode())
    except FileNotFoundError:
        if not path:
            return {}
        raise ConfigInvalid([Violation(path, "there is no such file")]) from None
    except OSError as error:
        raise ConfigInvalid([Violation(path or DEFAULT_FILE, error.strerror or "cannot be read")]) from None
    except ValueError as error:
        # A decoder's words may repeat what it met: a secret, where a quotation mark is missing.
        where = str(error).rpartition("(")[2].rstrip(")")
        words = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else f"wrong {where}"
        raise ConfigInvalid([Violation(path or DEFAULT_FILE, f"is not TOML: {words}")]) from None


def text_of(value: object) -> str:
    """Return what a setting's value would be in the environment.

    Raises:
        ValueError: it is a list, a table or a date, and no setting is.
    """
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError("is not a text, a number or a truth value")


def unknown_key(key: str, known: Collection[str]) -> str:
    """Return words for a key that is no setting."""
    close = get_close_matches(key, known, 1)
    return f"is no setting{f'; is it {close[0]}?' if close else ''}"

"""ORCA's secret: how its entry in the secrets manager names the database and who reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL

_NEEDED: Final = ("host", "user_database", "user_username", "user_password")
_DEFAULT_PORT: Final = 5432


def read_secret(path: str) -> str:
    """Return the URL that the JSON of ORCA's secret tells; what else the secret has is left alone.

    Raises:
        ValueError: the file cannot be read, or does not tell it; the words repeat nothing of its content.
    """
    try:
        secret = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(error.strerror or "cannot be read") from None
    except ValueError:
        raise ValueError("is not JSON") from None
    if not isinstance(secret, dict):
        raise ValueError("is not a JSON object")
    port = _port(secret.get("port", _DEFAULT_PORT))
    faults = [name for name in _NEEDED if not isinstance(secret.get(name), str) or not secret[name]]
    faults += ["port"] if port is None else []
    if faults:
        raise ValueError(f"has no {', '.join(faults)} that can be used")
    url = URL.create(
        "postgresql",
        username=secret["user_username"],
        password=secret["user_password"],
        host=secret["host"],
        port=port,
        database=secret["user_database"],
    )
    return url.render_as_string(hide_password=False)


def _port(value: Any) -> int | None:
    """Return a port that is written as a number or a text; `None` if it is none."""
    try:
        port = int(value)
    except (TypeError, ValueError):
        return None
    return port if 0 < port < 65_536 and not isinstance(value, bool) else None

"""How a connection to PostgreSQL is made."""

from __future__ import annotations

from typing import Any, Final

import psycopg2
from sqlalchemy import URL

# A server whose host is gone is noticed in seconds, not hours.
_ARGUMENTS: Final = {
    "application_name": "jobstatus",
    "connect_timeout": 2,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def connect(url: URL) -> Any:
    """Return a new psycopg2 connection; what the URL's query says goes before the defaults.

    Raises:
        psycopg2.OperationalError: the server cannot be reached.
    """
    ours = url.translate_connect_args(username="user", database="dbname")
    return psycopg2.connect(**{**_ARGUMENTS, **ours, **url.query})

"""How a connection to PostgreSQL is made."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any, Final

import psycopg2
from sqlalchemy import URL

_log = logging.getLogger(__name__)

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
    """Return a new psycopg2 connection, which keeps no notifications.

    What the URL's query says goes before the defaults.

    Raises:
        psycopg2.OperationalError: the server cannot be reached.
    """
    ours = url.translate_connect_args(username="user", database="dbname")
    connection = psycopg2.connect(**{**_ARGUMENTS, **ours, **url.query})
    # A pooler gives a session that has listened to anybody: psycopg2 would keep what arrives there for ever.
    connection.notifies = deque(maxlen=0)
    return connection


def connect_alone(url: URL) -> Any:
    """Return a connection outside of any pool, in autocommit: no notification of its waits for a commit.

    Raises:
        psycopg2.OperationalError: the server cannot be reached.
    """
    connection = connect(url)
    connection.autocommit = True
    return connection


def close(connection: Any) -> None:
    """Close a connection that may be broken; `None` is closed already."""
    if connection is not None:
        try:
            connection.close()
        except psycopg2.Error:
            _log.debug("closing a broken connection", exc_info=True)

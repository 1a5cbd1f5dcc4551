"""The schema's way from nothing to `schema.VERSION`, by Alembic."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, select

from jobstatus_grpc.errors import SchemaMismatch
from jobstatus_grpc.store import schema
from jobstatus_grpc.store.base import Identity

# Alembic keeps what it is about in the module.
_one_at_a_time = threading.Lock()

_COMMAND: Final = "jobstatus db upgrade --database-url …"


def upgrade(connection: Connection) -> None:
    """Bring the schema to `schema.VERSION`, inside the connection's transaction; a later one stays as it is.

    Raises:
        SchemaMismatch: the schema is of another major version.
    """
    if _is_behind(connection):
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent))
        config.attributes["connection"] = connection
        with _one_at_a_time:
            command.upgrade(config, "head")
        if connection.execute(select(schema.store.c.store_id)).first() is None:
            made = {"store_id": secrets.token_bytes(16), "secret": secrets.token_bytes(32)}
            connection.execute(insert(schema.store).values(**made))


def check(connection: Connection) -> None:
    """Return if this program can work with the schema as it is.

    Raises:
        SchemaMismatch: it is older than needed, or of another major version.
    """
    if _is_behind(connection):
        raise SchemaMismatch(
            f"the database's schema is older than this program needs ({schema.VERSION}): run `{_COMMAND}`"
        )


def read_identity(connection: Connection) -> Identity:
    """Return which store it is."""
    row = connection.execute(select(schema.store.c.store_id, schema.store.c.secret)).one()
    return Identity(bytes(row[0]), bytes(row[1]))


def _is_behind(connection: Connection) -> bool:
    """Return whether the schema has to be upgraded.

    Raises:
        SchemaMismatch: it is of another major version.
    """
    found = MigrationContext.configure(connection).get_current_revision()
    if found is None:
        return True
    major, minor = map(int, found.split("_"))
    our_major, our_minor = map(int, schema.VERSION.split("_"))
    if major != our_major:
        raise SchemaMismatch(
            f"the database's schema is at {found}; this program works with {our_major}_{our_minor} and later "
            f"minor versions of {our_major}"
        )
    return minor < our_minor

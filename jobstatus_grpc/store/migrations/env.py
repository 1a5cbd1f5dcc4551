"""Alembic's entry: runs the migrations on the connection it is handed, in that connection's transaction."""

from alembic import context

from jobstatus_grpc.store import schema

context.configure(connection=context.config.attributes["connection"], target_metadata=schema.metadata)
context.run_migrations()

"""Make the tables."""

import sqlalchemy as sa
from alembic import op

revision = "1_0"
down_revision = None
branch_labels = None
depends_on = None

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_PK = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "change",
        sa.Column("job_pk", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("commit_id", sa.BigInteger(), nullable=False),
        sa.Column("change_time", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("collection_id", _KEY, nullable=True),
        sa.Column("granule_id", _KEY, nullable=True),
        sa.Column("previous_state", sa.SmallInteger(), nullable=True),
        sa.Column("state", sa.SmallInteger(), nullable=True),
        sa.Column("native_state", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("request_time", sa.BigInteger(), nullable=True),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("job", sa.Text(), nullable=True),
        sa.Column("unspecified_count", sa.Integer(), nullable=False),
        sa.Column("pending_count", sa.Integer(), nullable=False),
        sa.Column("staged_count", sa.Integer(), nullable=False),
        sa.Column("succeeded_count", sa.Integer(), nullable=False),
        sa.Column("failed_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_pk", "revision", name=op.f("change_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "granule",
        sa.Column("job_pk", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("collection_id", _KEY, nullable=False),
        sa.Column("granule_id", _KEY, nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("native_state", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("request_time", sa.BigInteger(), nullable=True),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_pk", "collection_id", "granule_id", name=op.f("granule_pkey")),
        postgresql_with={"fillfactor": "80"},
        sqlite_with_rowid=False,
    )
    op.create_table(
        "job",
        sa.Column("job_pk", _PK, autoincrement=True, nullable=False),
        sa.Column("project_id", _KEY, nullable=False),
        sa.Column("job_id", _KEY, nullable=True),
        sa.Column("root_pk", sa.BigInteger(), nullable=True),
        sa.Column("parent_pk", sa.BigInteger(), nullable=True),
        sa.Column("system", sa.Text(), nullable=True),
        sa.Column("job_type", sa.Text(), nullable=True),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("native_state", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_reason", sa.Text(), nullable=True),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("begin_time", sa.BigInteger(), nullable=True),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("unspecified_count", sa.Integer(), nullable=False),
        sa.Column("pending_count", sa.Integer(), nullable=False),
        sa.Column("staged_count", sa.Integer(), nullable=False),
        sa.Column("succeeded_count", sa.Integer(), nullable=False),
        sa.Column("failed_count", sa.Integer(), nullable=False),
        sa.Column("granules_complete", sa.Boolean(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("state_reported", sa.Boolean(), nullable=False),
        sa.Column("begin_time_reported", sa.Boolean(), nullable=False),
        sa.Column("end_time_reported", sa.Boolean(), nullable=False),
        sa.Column("commit_id", sa.BigInteger(), nullable=False),
        sa.Column("change_floor", sa.BigInteger(), nullable=False),
        sa.Column("last_report_time", sa.BigInteger(), nullable=False),
        sa.Column("delete_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("job_pk", name=op.f("job_pkey")),
        sa.UniqueConstraint("project_id", "job_id", name=op.f("job_project_id_job_id_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "job_deleted_idx",
        "job",
        ["job_pk"],
        unique=False,
        postgresql_where=sa.text("delete_time IS NOT NULL"),
        sqlite_where=sa.text("delete_time IS NOT NULL"),
    )
    op.create_index(
        "job_roots_idx",
        "job",
        ["project_id", "job_pk"],
        unique=False,
        postgresql_where=sa.text("job_id IS NOT NULL AND parent_pk IS NULL"),
        sqlite_where=sa.text("job_id IS NOT NULL AND parent_pk IS NULL"),
    )
    op.create_table(
        "store",
        sa.Column("store_id", sa.LargeBinary(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", name=op.f("store_pkey")),
    )

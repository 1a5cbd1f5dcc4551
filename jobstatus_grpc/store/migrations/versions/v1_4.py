"""Keep the files of granules, and find a granule's jobs."""

import sqlalchemy as sa
from alembic import op

revision = "1_4"
down_revision = "1_3"
branch_labels = None
depends_on = None

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "granule_file",
        sa.Column("job_pk", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("collection_id", _KEY, nullable=False),
        sa.Column("granule_id", _KEY, nullable=False),
        sa.Column("file_name", _KEY, nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("native_state", sa.Text(), nullable=True),
        sa.Column("restore_destination", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_reason", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("request_time", sa.BigInteger(), nullable=True),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "job_pk", "collection_id", "granule_id", "file_name", name=op.f("granule_file_pkey")
        ),
        postgresql_with={"fillfactor": "80"},
        sqlite_with_rowid=False,
    )
    # Takes by far the most of the time, in which reports wait and reads go on; the column would stop both.
    name = sa.text("(collection_id || ' ' || granule_id)")
    op.create_index("granule_jobs_idx", "granule", [name, "job_pk"], unique=False)
    op.add_column("granule", sa.Column("files", sa.Text(), nullable=True))

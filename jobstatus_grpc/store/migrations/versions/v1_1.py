"""Let jobs be parts of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "1_1"
down_revision = "1_0"
branch_labels = None
depends_on = None

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("job", sa.Column("parent_job_id", _KEY, nullable=True))
    op.add_column("job", sa.Column("sub_jobs", sa.Text(), nullable=True))
    op.drop_index("job_project_id_job_pk_idx", "job")
    for name, column, condition in (
        ("job_roots_idx", "project_id", "job_id IS NOT NULL AND parent_pk IS NULL"),
        ("job_parts_idx", "parent_pk", "job_id IS NOT NULL AND parent_pk IS NOT NULL"),
        ("job_trees_idx", "root_pk", "root_pk IS NOT NULL"),
    ):
        op.create_index(
            name,
            "job",
            [column, "job_pk"],
            unique=False,
            postgresql_where=sa.text(condition),
            sqlite_where=sa.text(condition),
        )

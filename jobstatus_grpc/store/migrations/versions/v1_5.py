"""Let one process at a time bring jobs in from a system."""

import sqlalchemy as sa
from alembic import op

revision = "1_5"
down_revision = "1_4"
branch_labels = None
depends_on = None

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "source_lease",
        sa.Column("name", _KEY, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("expire_time", sa.BigInteger(), nullable=False),
        sa.Column("progress", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("source_lease_pkey")),
        sa.UniqueConstraint("name", "number", name=op.f("source_lease_name_number_key")),
    )

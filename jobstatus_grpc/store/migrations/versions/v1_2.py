"""Let details and source documents be kept."""

import sqlalchemy as sa
from alembic import op

revision = "1_2"
down_revision = "1_1"
branch_labels = None
depends_on = None

_PK = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("job", sa.Column("details_bytes", sa.Integer(), nullable=True))
    op.add_column("granule", sa.Column("document", sa.Text(), nullable=True))
    op.create_table(
        "job_document",
        sa.Column("job_pk", _PK, autoincrement=False, nullable=False),
        sa.Column("details", sa.Text(), nullable=True),
        sa.Column("document", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job_pk", name=op.f("job_document_pkey")),
    )

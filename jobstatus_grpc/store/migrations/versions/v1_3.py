"""Keep why granules have failed, and how fast they end."""

import sqlalchemy as sa
from alembic import op

revision = "1_3"
down_revision = "1_2"
branch_labels = None
depends_on = None

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

# The granules that have failed by now. Their reasons are counted as they will be from now on: the first fifty
# of a job have rows.
_FAILED = """
select job_pk, collection_id, granule_id, attempt, revision, update_time,
    substr(coalesce(error_code, ''), 1, 64) as code,
    substr(
        coalesce(case when error_code is null then coalesce(error_reason, message) else error_reason end, ''),
        1, 256
    ) as reason
from granule where state = 4
"""


def upgrade() -> None:
    op.add_column("job", sa.Column("tally", sa.Text(), nullable=True))
    op.create_table(
        "failed_granule",
        sa.Column("job_pk", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("collection_id", _KEY, nullable=False),
        sa.Column("granule_id", _KEY, nullable=False),
        sa.Column("reason_number", sa.SmallInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_pk", "collection_id", "granule_id", name=op.f("failed_granule_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "failed_granule_reason_idx",
        "failed_granule",
        ["job_pk", "reason_number", "collection_id", "granule_id"],
        unique=False,
    )
    op.create_table(
        "failure_reason",
        sa.Column("job_pk", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason_number", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("granule_count", sa.Integer(), nullable=False),
        sa.Column("first_time", sa.BigInteger(), nullable=False),
        sa.Column("last_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_pk", "reason_number", name=op.f("failure_reason_pkey")),
        sqlite_with_rowid=False,
    )
    op.execute(f"""
        insert into failure_reason (job_pk, reason_number, code, reason, granule_count, first_time, last_time)
        select * from (
            select job_pk, row_number() over (partition by job_pk order by min(revision)) as reason_number,
                code, reason, count(*) as granule_count, min(update_time) as first_time,
                max(update_time) as last_time
            from ({_FAILED}) as failed
            group by job_pk, code, reason
        ) as counted
        where reason_number <= 50
    """)  # noqa: S608
    op.execute(f"""
        insert into failed_granule (job_pk, collection_id, granule_id, reason_number, attempt)
        select failed.job_pk, collection_id, granule_id, coalesce(reason_number, 0), attempt
        from ({_FAILED}) as failed
        left join failure_reason on failure_reason.job_pk = failed.job_pk
            and failure_reason.code = failed.code and failure_reason.reason = failed.reason
    """)  # noqa: S608
    # Where none has failed there is nothing that could be out of date.
    op.execute("update job set tally = '[' || revision || ']' where failed_count > 0")

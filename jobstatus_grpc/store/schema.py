"""The tables, as the latest migration leaves them.

No foreign keys: every write of a tree holds the lock of its root's row, and a deletion removes that row last.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

# The revision of migrations/ these tables are at: MAJOR_MINOR. Another major cannot be worked with, a later
# minor can.
VERSION: Final = "1_5"

metadata: Final = MetaData(
    naming_convention={"pk": "%(table_name)s_pkey", "uq": "%(table_name)s_%(column_0_N_name)s_key"}
)

# Keys are compared by their bytes, as SQLite does, whatever the database's locale.
_Key: Final = Text().with_variant(Text(collation="C"), "postgresql")
# SQLite numbers rows by itself, and finds them by their number, only in columns that are exactly INTEGER.
_Pk: Final = BigInteger().with_variant(Integer(), "sqlite")

# One row: which store it is.
store: Final = Table(
    "store",
    metadata,
    Column("store_id", LargeBinary, primary_key=True),
    Column("secret", LargeBinary, nullable=False),
)

# One row a job: everything a report touches. `job_id` is NULL from `delete_time` on. A root has neither
# `root_pk` nor `parent_pk`; `sub_jobs` are the numbers of `model.SubJobs`, NULL where there are none, as
# `details_bytes`, which tells that there are details and how much of the tree's limit they take. `tally` is
# the revision up to which the tables of failures have been kept, and the numbers of `pace.Pace`.
job: Final = Table(
    "job",
    metadata,
    Column("job_pk", _Pk, primary_key=True, autoincrement=True),
    Column("project_id", _Key, nullable=False),
    Column("job_id", _Key),
    Column("root_pk", BigInteger),
    Column("parent_pk", BigInteger),
    Column("system", Text),
    Column("job_type", Text),
    Column("state", SmallInteger, nullable=False),
    Column("native_state", Text),
    Column("attempt", Integer, nullable=False),
    Column("description", Text),
    Column("message", Text),
    Column("error_code", Text),
    Column("error_reason", Text),
    Column("create_time", BigInteger, nullable=False),
    Column("begin_time", BigInteger),
    Column("end_time", BigInteger),
    Column("update_time", BigInteger, nullable=False),
    Column("unspecified_count", Integer, nullable=False),
    Column("pending_count", Integer, nullable=False),
    Column("staged_count", Integer, nullable=False),
    Column("succeeded_count", Integer, nullable=False),
    Column("failed_count", Integer, nullable=False),
    Column("granules_complete", Boolean, nullable=False),
    Column("labels", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("state_reported", Boolean, nullable=False),
    Column("begin_time_reported", Boolean, nullable=False),
    Column("end_time_reported", Boolean, nullable=False),
    Column("commit_id", BigInteger, nullable=False),
    Column("change_floor", BigInteger, nullable=False),
    Column("last_report_time", BigInteger, nullable=False),
    Column("delete_time", BigInteger),
    Column("parent_job_id", _Key),
    Column("sub_jobs", Text),
    Column("details_bytes", Integer),
    Column("tally", Text),
    UniqueConstraint("project_id", "job_id"),
    sqlite_autoincrement=True,  # A job_pk is never given twice.
)
# Where a project's roots are listed, a job's sub-jobs, and a tree's jobs: no job is in them but those that
# such a list may hold.
Index(
    "job_roots_idx",
    job.c.project_id,
    job.c.job_pk,
    postgresql_where=job.c.job_id.is_not(None) & job.c.parent_pk.is_(None),
    sqlite_where=job.c.job_id.is_not(None) & job.c.parent_pk.is_(None),
)
Index(
    "job_parts_idx",
    job.c.parent_pk,
    job.c.job_pk,
    postgresql_where=job.c.job_id.is_not(None) & job.c.parent_pk.is_not(None),
    sqlite_where=job.c.job_id.is_not(None) & job.c.parent_pk.is_not(None),
)
Index(
    "job_trees_idx",
    job.c.root_pk,
    job.c.job_pk,
    postgresql_where=job.c.root_pk.is_not(None),
    sqlite_where=job.c.root_pk.is_not(None),
)
Index(
    "job_deleted_idx",
    job.c.job_pk,
    postgresql_where=job.c.delete_time.is_not(None),
    sqlite_where=job.c.delete_time.is_not(None),
)

# What is rarely touched of a job: its details and its source document. No row where there is neither.
job_document: Final = Table(
    "job_document",
    metadata,
    Column("job_pk", _Pk, primary_key=True, autoincrement=False),
    Column("details", Text),
    Column("document", Text),
)

# The latest state of each granule. The indices know nothing of it but its keys, and there is room in the
# pages: updates stay in place. `document` is what a source's entry has beyond the other columns: mostly NULL.
# `files` are the numbers of `model.FileTally`, NULL where there are none.
granule: Final = Table(
    "granule",
    metadata,
    Column("job_pk", BigInteger, primary_key=True, autoincrement=False),
    Column("collection_id", _Key, primary_key=True),
    Column("granule_id", _Key, primary_key=True),
    Column("state", SmallInteger, nullable=False),
    Column("native_state", Text),
    Column("attempt", Integer, nullable=False),
    Column("error_code", Text),
    Column("error_reason", Text),
    Column("message", Text),
    Column("request_time", BigInteger),
    Column("end_time", BigInteger),
    Column("update_time", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("document", Text),
    Column("files", Text),
    postgresql_with={"fillfactor": "80"},
    sqlite_with_rowid=False,
)
# A granule's name in an expression of its own: over the columns themselves the index would offer itself where
# one job is read, and be taken for as good as the key while there are no others.
GRANULE_NAME: Final = text("(collection_id || ' ' || granule_id)")
# Which jobs have a granule.
Index("granule_jobs_idx", GRANULE_NAME, granule.c.job_pk)

# The files of granules, where they are reported.
granule_file: Final = Table(
    "granule_file",
    metadata,
    Column("job_pk", BigInteger, primary_key=True, autoincrement=False),
    Column("collection_id", _Key, primary_key=True),
    Column("granule_id", _Key, primary_key=True),
    Column("file_name", _Key, primary_key=True),
    Column("state", SmallInteger, nullable=False),
    Column("native_state", Text),
    Column("restore_destination", Text),
    Column("error_code", Text),
    Column("error_reason", Text),
    Column("attempt", Integer, nullable=False),
    Column("request_time", BigInteger),
    Column("end_time", BigInteger),
    Column("update_time", BigInteger, nullable=False),
    postgresql_with={"fillfactor": "80"},
    sqlite_with_rowid=False,
)

# The history: the item as it was after each change, and the totals after it. A granule's in the columns of
# its table, a job's own or a sub-job's in `job`.
change: Final = Table(
    "change",
    metadata,
    Column("job_pk", BigInteger, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("commit_id", BigInteger, nullable=False),
    Column("change_time", BigInteger, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("collection_id", _Key),
    Column("granule_id", _Key),
    Column("previous_state", SmallInteger),
    Column("state", SmallInteger),
    Column("native_state", Text),
    Column("attempt", Integer),
    Column("error_code", Text),
    Column("error_reason", Text),
    Column("message", Text),
    Column("request_time", BigInteger),
    Column("end_time", BigInteger),
    Column("job", Text),
    Column("unspecified_count", Integer, nullable=False),
    Column("pending_count", Integer, nullable=False),
    Column("staged_count", Integer, nullable=False),
    Column("succeeded_count", Integer, nullable=False),
    Column("failed_count", Integer, nullable=False),
    sqlite_with_rowid=False,
)

# The granules in FAILED, each with the number of its reason; 0 where the reason has no row.
failed_granule: Final = Table(
    "failed_granule",
    metadata,
    Column("job_pk", BigInteger, primary_key=True, autoincrement=False),
    Column("collection_id", _Key, primary_key=True),
    Column("granule_id", _Key, primary_key=True),
    Column("reason_number", SmallInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    sqlite_with_rowid=False,
)
Index(
    "failed_granule_reason_idx",
    failed_granule.c.job_pk,
    failed_granule.c.reason_number,
    failed_granule.c.collection_id,
    failed_granule.c.granule_id,
)
# Why they have failed: a bounded number of rows a job, and of each how many granules it is for.
failure_reason: Final = Table(
    "failure_reason",
    metadata,
    Column("job_pk", BigInteger, primary_key=True, autoincrement=False),
    Column("reason_number", SmallInteger, primary_key=True, autoincrement=False),
    Column("code", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("granule_count", Integer, nullable=False),
    Column("first_time", BigInteger, nullable=False),
    Column("last_time", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Who brings jobs in from a system. The number of a lease is part of a key, so that the database takes its
# change for one, and lets it wait for whoever has the key in use: a prolongation is none.
source_lease: Final = Table(
    "source_lease",
    metadata,
    Column("name", _Key, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("expire_time", BigInteger, nullable=False),
    Column("progress", Text, nullable=False),
    UniqueConstraint("name", "number"),
)

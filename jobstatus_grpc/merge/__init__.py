"""The merge rule and the roll-up: what a report makes of a job. Pure."""

from __future__ import annotations

from jobstatus_grpc.merge.report import Merged, merge_report

__all__ = ["Merged", "merge_report"]

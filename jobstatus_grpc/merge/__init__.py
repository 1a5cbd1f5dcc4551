"""The merge rule and the roll-up: what reports make of a job. Pure."""

from __future__ import annotations

from jobstatus_grpc.merge.group import MergedGroup, merge_reports
from jobstatus_grpc.merge.report import Merged, merge_report

__all__ = ["Merged", "MergedGroup", "merge_report", "merge_reports"]

"""The merge rule and the roll-up: what a report makes of a tree of jobs. Pure."""

from __future__ import annotations

from jobstatus_grpc.merge.group import MergedGroup, Refusal, merge_reports
from jobstatus_grpc.merge.report import Merged, merge_report

__all__ = ["Merged", "MergedGroup", "Refusal", "merge_report", "merge_reports"]

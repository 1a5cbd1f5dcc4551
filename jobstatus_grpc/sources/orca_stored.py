"""What the service has of a job that was brought in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jobstatus_grpc.model import Granule, GranuleFile, GranuleKey, JobKey
from jobstatus_grpc.store.base import FIRST_FILES, FilePlace, JobStore


class Held(NamedTuple):
    """A granule with its files."""

    granule: Granule
    files: Sequence[GranuleFile]


def read_held(store: JobStore, key: JobKey) -> Mapping[GranuleKey, Held]:
    """Return all granules of a job with their files.

    Raises:
        JobNotFound: there is no such job.
    """
    files: dict[GranuleKey, list[GranuleFile]] = {}
    page = store.read_files(key, FIRST_FILES)
    while page:
        for name, file in page:
            files.setdefault(name, []).append(file)
        name, file = page[-1]
        page = store.read_files(key, FilePlace(*name, file.file_name))
    with store.open_snapshot(key) as snapshot:
        granules = (granule for page in snapshot.pages for granule in page)
        return {granule.key: Held(granule, files.get(granule.key, ())) for granule in granules}

"""Comparing what ORCA's database has with what was brought in of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from jobstatus_grpc.errors import JobNotFound
from jobstatus_grpc.model import GranuleKey, GranuleReport, JobKey
from jobstatus_grpc.sources.orca_database import PAGE_GRANULES, Mark, OrcaDatabase, Walk
from jobstatus_grpc.sources.orca_following import SYSTEM
from jobstatus_grpc.sources.orca_stored import Held, read_held
from jobstatus_grpc.sources.orca_values import difference, granule_report, storable
from jobstatus_grpc.store.base import JobQuery, JobStore

_LISTED_JOBS: Final = 500
_WALKED_JOBS: Final = 1_000
# What is under way is looked at again, so many times, so long after the last.
_LOOKS: Final = 8
_LOOK_INTERVAL: Final = 2.0


class Difference(NamedTuple):
    """What ORCA and the service have different of a job, or of one granule of it.

    Attributes:
        job_id: the job.
        granule: the granule; `None` for the job as a whole.
        words: what differs.
    """

    job_id: str
    granule: GranuleKey | None
    words: str


class OrcaComparison:
    """Compares all jobs of ORCA with those of a project that were brought in from there.

    Both go on meanwhile: what differs is looked at again, and told if it still does.

    Args:
        store: the service's, prepared.
        database: ORCA's, identified.
        project_id: of which project the jobs are.
        tell: called with the number of jobs that have been compared.
    """

    def __init__(
        self,
        store: JobStore,
        database: OrcaDatabase,
        project_id: str,
        tell: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._database = database
        self._project_id = project_id
        self._tell = tell

    def run(self) -> Iterator[Difference]:
        """Yield what differs.

        Raises:
            SourceFailed: ORCA's database does not answer.
            StoreUnavailable: the service's does not.
        """
        suspects: list[str] = []
        for compared, job_id in enumerate(self._job_ids(), 1):
            if self._differences(job_id):
                suspects.append(job_id)
            self._tell(compared)
        for _ in range(_LOOKS):
            if not suspects:
                return
            time.sleep(_LOOK_INTERVAL)
            found = {job_id: self._differences(job_id) for job_id in suspects}
            suspects = [job_id for job_id, differences in found.items() if differences]
        for job_id in suspects:
            yield from found[job_id]

    def _job_ids(self) -> Iterator[str]:
        """Yield the jobs of both, each once."""
        known: set[str] = set()
        walk, ended = Walk(), False
        while not ended:
            with self._database.snapshot() as snapshot:
                walk, found = snapshot.new_jobs(walk, _WALKED_JOBS)
            ended = not walk.after.job_id
            known.update(found)
            yield from found
        before: int | None = None
        while True:
            page = self._store.list_jobs(JobQuery(self._project_id, _LISTED_JOBS, before, system=SYSTEM))
            yield from (job.job_id for job in page.jobs if job.job_id not in known)
            if page.next_before is None:
                return
            before = page.next_before

    def _differences(self, job_id: str) -> Sequence[Difference]:
        theirs, ours = self._theirs(job_id), self._ours(job_id)
        if not theirs and ours is not None:
            return [Difference(job_id, None, "is not in ORCA")]
        if ours is None:
            return [Difference(job_id, None, "has not been brought in")] if theirs else []
        found = [Difference(job_id, key, "is not in ORCA") for key in ours.keys() - theirs.keys()]
        for key, report in theirs.items():
            granule = ours.get(key)
            words = "has not been brought in" if granule is None else difference(report, *granule)
            if words:
                found.append(Difference(job_id, key, words))
        return sorted(found, key=lambda each: each.granule or GranuleKey("", ""))

    def _theirs(self, job_id: str) -> Mapping[GranuleKey, GranuleReport]:
        mark = Mark(job_id, 0)
        found: dict[GranuleKey, GranuleReport] = {}
        while True:
            with self._database.snapshot() as snapshot:
                rows = snapshot.with_files(snapshot.changed([mark]))
            reports = [granule_report(row) for row in rows if storable(row)]
            found.update((report.key, report) for report in reports)
            if len(rows) < PAGE_GRANULES:
                return found
            mark = Mark(job_id, 0, *rows[-1].key[1:])

    def _ours(self, job_id: str) -> Mapping[GranuleKey, Held] | None:
        try:
            return read_held(self._store, JobKey(self._project_id, job_id))
        except JobNotFound:
            return None

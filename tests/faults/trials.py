"""A trial: traffic of every kind, a fault in its midst, and the proof of what has become of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import grpc

from faults.clients import LOAD, PATIENCE, Crowd, Load
from faults.crowd import names_of
from faults.findings import Findings
from faults.fleet import Fleet
from faults.histories import History, read_histories
from faults.proof import NOTHING_ALLOWED, PROMISES, Allowed, Back, Promise, Proof, ways_back
from faults.recordings import Acknowledged, Event, Key, Watches, now, read_recording
from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError

# What has to be taken before and after a fault, for it to have been in the midst of something.
_LEAST: Final = 100
# Beyond every attempt that reporters get to.
_LAST_ATTEMPT: Final = 1_000_000
_PROJECTS: Final = ("alpha", "beta")

Recording = Mapping[str, list[Event]]


class Trial:
    """One fault under load. Use it as a context manager; at its end everything is proved.

    Args:
        fault: what will fail, for the report.
        fleet: the servers.
        home: where recordings go; its name makes the jobs' ids.
        publish: takes what was found.
        load: what goes on meanwhile.
        allowed: what the fault excuses.

    Attributes:
        fleet: the servers.
        keys: the jobs.
        crowd: the clients.
        allowed: what the fault excuses.
        lost: of a database that was set back, what it had said before.
        recording: after the end, what everybody did and was told.
        backs: after the end, how watchers came back from streams that broke.
        delivered: after the end, how many changes have come to watchers.
        held: after the end, how often each promise was found to hold.
    """

    def __init__(
        self,
        fault: str,
        fleet: Fleet,
        home: Path,
        publish: Callable[[Findings], None],
        load: Load = LOAD,
        allowed: Allowed = NOTHING_ALLOWED,
    ) -> None:
        self.fleet = fleet
        self.allowed = allowed
        self.lost: Mapping[Key, History] = {}
        self.recording: dict[str, list[Event]] = {}
        self.backs: list[Back] = []
        self.delivered = 0
        self.held: Mapping[str, int] = {}
        self._fault = fault
        self._home = home
        self._publish = publish
        self._load = load
        self._stack = ExitStack()
        self._crowds: list[Crowd] = []
        self._began, self._ended = float("inf"), 0.0
        self._least = 0

    def __enter__(self) -> Self:
        self._before, self._ears = self.fleet.at_rest(), self.fleet.ears()
        self.keys = self._report_jobs()
        self.crowd = self.join("crowd", self._load)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                self._end()
            else:
                self.fleet.heal()

    def join(self, name: str, load: Load) -> Crowd:
        """Have more clients; return them when all of them watch."""
        crowd = self._stack.enter_context(Crowd(name, self._home))
        self._crowds.append(crowd)
        crowd.begin_all(self.fleet.addresses, self.keys, load)
        return crowd

    def flow(self, reports: int = _LEAST) -> None:
        """Return when so many more reports have been taken."""
        self.crowd.flow(reports)

    @contextmanager
    def fault(self, least: int) -> Iterator[None]:
        """Have the fault last as long as the block, in which so many reports are to be taken at least.

        From the first beginning to the last end several of them count as one.
        """
        self._began = min(self._began, now())
        yield
        self._ended = now()
        self._least += least

    def _report_jobs(self) -> list[Key]:
        ids = [f"{self._home.name}-{number}" for number in range(self._load.jobs // len(_PROJECTS))]
        keys = [(project, job) for job in ids for project in _PROJECTS]
        with JobStatusClient(self.fleet.addresses[0]) as client:
            for project, job in keys:
                client.report_job(pb.Job(project_id=project, job_id=job))
        return keys

    def _end(self) -> None:
        """Let everything come to its end, prove it, and tell what was found."""
        staying = [crowd for crowd in self._crowds if crowd.stays]
        for crowd in staying:
            crowd.quiet()
        self._end_jobs()
        left = [shown for crowd in staying for shown in crowd.finish()]
        strangers = self._use_tokens_elsewhere()
        for crowd in staying:
            crowd.leave()
        proof = self._prove_recordings()
        writes = self._check_writes(proof)
        for shown in left:
            proof.check(Promise.ISOLATION, False, "has not come to the end: {}", shown)
        if self._load.hung:
            # They have come to the end beside streams that nobody reads.
            proof.check(Promise.ISOLATION, not left, "not all came to the end")
        for job in strangers:
            words = "a token of the other project's job {} was taken"
            proof.check(Promise.TENANCY, False, words, job)
        self._check_servers(proof)
        self._tell(proof, writes)
        assert not proof.broken, "\n".join(("broken:", *proof.broken))

    def _end_jobs(self) -> None:
        """Report the end of all jobs."""
        with JobStatusClient(self.fleet.addresses[0], connect_timeout=PATIENCE) as client:
            for number, (project, job) in enumerate(self.keys):
                names = [
                    name
                    for reporter in range(number, self._load.reporters, len(self.keys))
                    for name in names_of(reporter)
                ]
                granules = [
                    pb.Granule(
                        collection_id=project,
                        granule_id=name,
                        state=pb.GRANULE_STATE_SUCCEEDED,
                        attempt=_LAST_ATTEMPT,
                    )
                    for name in names
                ]
                ended = pb.Job(project_id=project, job_id=job, granules_complete=True)
                client.report_job(ended, granules)

    def _use_tokens_elsewhere(self) -> list[str]:
        """Use tokens for the other project's jobs of the same ids; return for which they were taken."""
        address, (one, other) = self.fleet.addresses[-1], _PROJECTS
        with JobStatusClient(address, one) as giver, JobStatusClient(address, other) as taker:
            jobs = [job for project, job in self.keys if project == one]
            return [job for job in jobs if not _refuses(taker, job, giver.get(job).resume_token)]

    def _prove_recordings(self) -> Proof:
        """Hold everything that clients were told against the logs."""
        tokens, histories = read_histories(self.fleet.database_url, self.keys)
        known = {key: [one, *filter(None, [self.lost.get(key)])] for key, one in histories.items()}
        proof = Proof(tokens, known, self.allowed)
        gone: set[str] = set()
        for crowd in self._crowds:
            found = read_recording(crowd.recording)
            gone.update(() if crowd.stays else found)
            self.recording.update(found)
        proof.check_recording(self.recording, gone)
        self.backs = [
            back for who, events in self.recording.items() if who not in gone for back in ways_back(events)
        ]
        self.delivered, self.held = proof.delivered, proof.held
        return proof

    def _check_writes(self, proof: Proof) -> tuple[int, int, int]:
        """Return how many reports were taken before, during and after the fault, having checked that."""
        taken = [
            event.at
            for events in self.recording.values()
            for event in events
            if isinstance(event, Acknowledged)
        ]
        before = sum(at < self._began for at in taken)
        after = sum(at > self._ended for at in taken)
        during = len(taken) - before - after
        least = (_LEAST, self._least, _LEAST)
        writes = (before, during, after)
        enough = all(one >= due for one, due in zip(writes, least, strict=True))
        proof.check(Promise.TRAFFIC, enough, "{} reports before, in and after the fault", writes)
        return writes

    def _check_servers(self, proof: Proof) -> None:
        """Check that servers hold what they held before, and have nothing to complain about."""
        over = self.fleet.wait_until_back(self._before, self._ears)
        proof.check(Promise.LEAKS, not over, "{}", over)
        said = [line for server in self.fleet.servers for line in server.complaints()]
        proof.check(Promise.CALM, not said, "{}", "\n".join(said[:5]))

    def _tell(self, proof: Proof, writes: tuple[int, int, int]) -> None:
        watchers = sum(isinstance(events[0], Watches) for events in self.recording.values())
        self._publish(
            Findings(
                fault=self._fault,
                writes=writes,
                delivered=proof.delivered,
                watchers=watchers,
                streams=proof.streams,
                back=max((back.seconds for back in self.backs), default=0.0),
                held=[promise for promise in PROMISES if proof.held[promise]],
                broken=proof.broken,
            )
        )


def _refuses(client: JobStatusClient, job: str, token: bytes) -> bool:
    """Return whether a watch with this token is refused as one that belongs elsewhere."""
    try:
        next(client.watch(job, token))
    except JobStatusRpcError as error:
        refusal = (grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID")
        return (error.code, error.reason) == refusal
    return False

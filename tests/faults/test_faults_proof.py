"""The proof of the fault suite: what is good holds, and what is spoiled in any way does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from faults.clients import Load
from faults.findings import Findings
from faults.fleet import Fleet
from faults.histories import History, Told, read_histories
from faults.proof import NOTHING_ALLOWED, Allowed, Promise, Proof
from faults.recordings import Acknowledged, Asked, Came, Dropped, Ended, Event, Key, Sent
from faults.trials import Trial
from faults.watchers import STEADY
from jobstatus import v1 as pb
from jobstatus_grpc.model import Granule
from jobstatus_grpc.tokens import Tokens
from jobstatus_grpc.verify import Guarantee

LOAD: Final = Load(jobs=2, reporters=2, watchers=10, askers=1, hung=1)
# Whose snapshots have granules.
LATE: Final = Load(reporters=0, watchers=2, roles=(STEADY,), askers=0, hung=0)


@dataclass
class Run:
    """A run that is good, to be spoiled."""

    tokens: Tokens
    told: dict[Key, Told]
    recording: dict[str, list[Event]]

    def copy(self) -> Run:
        """Return another one."""
        return Run(
            self.tokens, dict(self.told), {who: list(events) for who, events in self.recording.items()}
        )

    def prove(self, allowed: Allowed = NOTHING_ALLOWED) -> Proof:
        """Return what is proved."""
        histories = {key: [History(told)] for key, told in self.told.items()}
        proof = Proof(self.tokens, histories, allowed)
        proof.check_recording(self.recording)
        return proof

    @property
    def key(self) -> Key:
        """One of the jobs."""
        return next(iter(self.told))

    def events(self, who: str) -> list[Any]:
        """Return what one of that name did."""
        return next(events for name, events in self.recording.items() if who in name)

    def change_log(self, change: Callable[[list[Any]], None]) -> None:
        """Have the job's log be another one."""
        changes = list(self.told[self.key].changes)
        change(changes)
        self.told[self.key] = self.told[self.key]._replace(changes=changes)


def last(events: list[Any], kind: type[Event], chosen: Callable[[Any], bool] = lambda _: True) -> int:
    """Return where the last event of a kind is that is chosen."""
    return max(place for place, event in enumerate(events) if isinstance(event, kind) and chosen(event))


def is_granule(change: Any) -> bool:
    return isinstance(change.item, Granule)


def alter(events: list[Any], kind: str, do: Callable[[pb.WatchJobResponse], None]) -> None:
    """Change the last frame of a kind."""

    def is_one(event: Came) -> bool:
        return bool(pb.WatchJobResponse.FromString(event.frame).WhichOneof("frame") == kind)

    at = last(events, Came, is_one)
    frame = pb.WatchJobResponse.FromString(events[at].frame)
    do(frame)
    events[at] = events[at]._replace(frame=frame.SerializeToString())


Spoil = Callable[[Run], None]
SPOILED: list[tuple[str, Spoil]] = []


def breaks(promise: str) -> Callable[[Spoil], Spoil]:
    """Mark what spoils a good run, so that a promise is broken."""

    def mark(spoil: Spoil) -> Spoil:
        SPOILED.append((promise, spoil))
        return spoil

    return mark


@breaks(Promise.KEPT)
def an_acknowledged_report_is_not_in_the_log(run: Run) -> None:
    def lose(changes: list[Any]) -> None:
        message = next(change.item.message for change in changes if is_granule(change))
        changes[:] = [change for change in changes if getattr(change.item, "message", "") != message]

    run.change_log(lose)


@breaks(Promise.KEPT)
def a_part_of_a_report_is_not_in_the_log(run: Run) -> None:
    run.change_log(lambda changes: changes.remove(next(filter(is_granule, changes))))


@breaks(Promise.KEPT)
def a_report_was_acknowledged_before_it_was_in_the_log(run: Run) -> None:
    events = run.events("reporter")
    at = last(events, Acknowledged)
    events[at] = events[at]._replace(revision=2)


@breaks(Promise.KEPT)
def an_answer_is_older_than_what_was_acknowledged_before(run: Run) -> None:
    events = run.events("asker")
    first = next(event for event in events if isinstance(event, Asked))
    at = last(events, Asked, lambda event: event.key == first.key)
    events[at] = first._replace(at=events[at].at, began=events[at].began)


@breaks(Promise.COMMITTED)
def the_log_has_what_nobody_has_reported(run: Run) -> None:
    events = run.events("reporter")
    del events[last(events, Sent)]
    del events[last(events, Acknowledged)]


@breaks(Promise.COMMITTED)
def a_watcher_was_sent_what_was_never_committed(run: Run) -> None:
    def rename(frame: pb.WatchJobResponse) -> None:
        frame.changes.changes[0].granule.granule.message = "taken back"

    alter(run.events("watcher 0"), "changes", rename)


@breaks(Promise.COMMITTED)
def a_token_stands_for_what_is_in_no_log(run: Run) -> None:
    run.change_log(lambda changes: changes.__setitem__(-1, changes[-1]._replace(commit_id=7)))


@breaks(Promise.TENANCY)
def a_granule_of_another_project_comes(run: Run) -> None:
    def move(frame: pb.WatchJobResponse) -> None:
        frame.changes.changes[0].granule.granule.collection_id = "elsewhere"

    alter(run.events("watcher 0"), "changes", move)


@breaks(Promise.TENANCY)
def a_token_of_another_job_comes(run: Run) -> None:
    other = run.recording[next(who for who in run.recording if "watcher 1" in who)]
    strange: list[bytes] = []
    alter(other, "changes", lambda frame: strange.append(frame.resume_token))
    alter(run.events("watcher 0"), "changes", lambda frame: setattr(frame, "resume_token", strange[0]))


@breaks(Promise.LOG)
def a_granule_is_not_what_its_last_change_says(run: Run) -> None:
    told = run.told[run.key]
    first, *others = told.granules
    run.told[run.key] = told._replace(granules=[first._replace(attempt=first.attempt + 1), *others])


@breaks(Promise.LOG)
def a_granule_is_lost(run: Run) -> None:
    told = run.told[run.key]
    run.told[run.key] = told._replace(granules=told.granules[1:])


@breaks(Promise.LOG)
def a_job_has_wrong_totals(run: Run) -> None:
    told = run.told[run.key]
    job = told.stored.job._replace(totals=told.stored.job.totals._replace(failed=1))
    run.told[run.key] = told._replace(stored=told.stored._replace(job=job))


@breaks(Promise.LOG)
def a_change_is_of_a_transaction_that_had_ended(run: Run) -> None:
    run.change_log(
        lambda changes: changes.__setitem__(-1, changes[-1]._replace(commit_id=changes[0].commit_id))
    )


@breaks(Guarantee.COMPLETE)
def a_frame_is_lost(run: Run) -> None:
    events = run.events("watcher 0")
    del events[last(events, Came, lambda event: b"report" in event.frame)]


@breaks(Guarantee.COMPLETE)
def an_answer_has_wrong_totals(run: Run) -> None:
    events = run.events("asker")
    at = last(events, Asked)
    events[at] = events[at]._replace(totals=(0, 0, 0, 0, 1))


@breaks(Guarantee.COMPLETE)
def a_snapshot_has_another_granule_than_the_log(run: Run) -> None:
    def change(frame: pb.WatchJobResponse) -> None:
        frame.snapshot.granules[0].message = "never said"

    alter(run.events("late"), "snapshot", change)


@breaks(Guarantee.SNAPSHOT)
def a_snapshot_has_another_job_than_the_log(run: Run) -> None:
    alter(
        run.events("late"),
        "snapshot",
        lambda frame: setattr(frame.snapshot.job, "message", "never said"),
    )


@breaks(Guarantee.UNIQUE)
def a_frame_comes_twice(run: Run) -> None:
    events = run.events("watcher 0")
    at = last(events, Came, lambda event: b"report" in event.frame)
    events.insert(at, events[at])


@breaks(Guarantee.RESET)
def a_watch_is_reset_though_its_history_goes_on(run: Run) -> None:
    def replace(frame: pb.WatchJobResponse) -> None:
        frame.Clear()
        frame.totals.CopyFrom(pb.GranuleTotals(**dict.fromkeys(TOTALS, 0)))
        frame.reset.reason = "HISTORY_CHANGED"

    alter(run.events("watcher 0"), "changes", replace)


TOTALS = [field.name for field in pb.GranuleTotals.DESCRIPTOR.fields]


@breaks(Guarantee.ALIVE)
def a_stream_falls_silent(run: Run) -> None:
    events = run.events("watcher 0")
    events[last(events, Ended)] = Dropped(0.0, silent=True)


@breaks(Guarantee.ENDING)
def a_watch_does_not_come_to_its_end(run: Run) -> None:
    events = run.events("watcher 0")
    del events[last(events, Came)], events[last(events, Ended)]


@breaks(Guarantee.ENDING)
def a_job_ends_otherwise_than_it_did(run: Run) -> None:
    alter(
        run.events("watcher 0"),
        "completed",
        lambda frame: setattr(frame.completed.job, "message", "another end"),
    )


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a server that is killed in its midst."""
    home = tmp_path_factory.mktemp("trial")
    found: list[Findings] = []
    with (
        Fleet(f"sqlite:///{home}/jobstatus.db", home, number=2) as fleet,
        Trial("SIGKILL of one of two servers", fleet, home, found.append, load=LOAD) as run,
    ):
        run.flow()
        with run.fault(least=20):
            fleet.servers[0].kill()
            run.flow(20)
            fleet.start(fleet.servers[0])
        run.join("late", LATE)
        run.flow()
    tokens, histories = read_histories(fleet.database_url, run.keys)
    assert found[0].broken == []
    return Run(tokens, {key: history.told for key, history in histories.items()}, run.recording)


def test_a_run_in_which_a_server_is_killed_holds_what_was_promised(good: Run) -> None:
    proof = good.prove()
    assert proof.broken == []
    assert proof.delivered > 1000
    unasked = {Guarantee.RESET, Promise.ISOLATION, Promise.TRAFFIC, Promise.LEAKS, Promise.CALM}
    assert {promise for promise in (*Guarantee, *Promise) if not proof.held[promise]} == unasked


@pytest.mark.parametrize(("promise", "spoil"), SPOILED, ids=[spoil.__name__ for _, spoil in SPOILED])
def test_a_run_that_is_spoiled_is_told_from_a_good_one(good: Run, promise: str, spoil: Spoil) -> None:
    spoiled = good.copy()
    spoil(spoiled)
    broken = {words.partition(":")[0] for words in spoiled.prove().broken}
    assert promise in broken

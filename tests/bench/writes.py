"""The section `writes`: what it costs to report, beside the database's own loading of the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import NamedTuple

from bench.effort import Effort, add_rates
from bench.figures import NO_GOAL, Goal
from bench.loading import Loading, PostgresLoading, copy_texts, open_loading
from bench.stage import ROUNDS, Key, Stage
from bench.writer import BATCH, REPORTERS, SINGLES, Writer
from jobstatus_grpc.model import GranuleState

_NEW = (GranuleState.PENDING,)
_MOVES = (GranuleState.STAGED, GranuleState.SUCCEEDED)


class Target(NamedTuple):
    """A database, what loads rows into it, and what is to be reached on it."""

    name: str
    means: str
    new: Goal
    moved: Goal


_POSTGRES = Target("PostgreSQL", "COPY", Goal(ratio_at_least=0.3), Goal(at_least=20_000, ratio_at_least=0.2))
_SQLITE = Target("SQLite", "executemany", Goal(ratio_at_least=0.5), Goal(at_least=40_000, ratio_at_least=0.4))


class Round(NamedTuple):
    """One round of batches.

    Attributes:
        new: a job's granules, reported to the store.
        sent_new: those of another, sent to the server.
        loaded: the rows of the first, loaded again: the baseline.
        copied: as many rows, of texts that are ready; only where there is such a thing.
        moved: the first job's granules, twice, reported to the store.
        sent_moved: those of the other, sent to the server.
    """

    new: Effort
    sent_new: Effort
    loaded: Effort
    copied: Effort | None
    moved: Effort
    sent_moved: Effort


def measure(stage: Stage) -> None:
    """Measure all figures of writing."""
    with ExitStack() as stack:
        url = stage.database()
        writer = Writer(stage, stack, url)
        _measure_batches(stage, writer, url, _POSTGRES)
        _measure_reporters(stage, writer)
        _measure_singles(stage, writer)
    with ExitStack() as stack:
        url = stage.file()
        _measure_batches(stage, Writer(stage, stack, url), url, _SQLITE)


def _measure_batches(stage: Stage, writer: Writer, url: str, target: Target) -> None:
    batches = stage.number(25, 5)
    with closing(open_loading(url)) as loading:
        rounds = [_round(writer, loading, number, batches) for number in range(ROUNDS)]
    loaded = [one.loaded for one in rounds]
    name = f"{target.name}, batches of 1,000"
    for words, goal, handed, sent in (
        ("new granules", target.new, [one.new for one in rounds], [one.sent_new for one in rounds]),
        ("transitions", target.moved, [one.moved for one in rounds], [one.sent_moved for one in rounds]),
    ):
        add_rates(
            stage.findings, f"{name} {words}, at JobStore", handed, "granule", loaded, target.means, goal
        )
        add_rates(stage.findings, f"{name} {words}, through the rpc", sent, "granule", handed, "at JobStore")
    copied = [one.copied for one in rounds if one.copied is not None]
    if copied:
        name = "COPY of the same rows, of a text that is ready"
        add_rates(stage.findings, name, copied, "granule", loaded, target.means)


def _round(writer: Writer, loading: Loading, number: int, batches: int) -> Round:
    handed, sent = [("handed", f"job-{number}")], [("sent", f"job-{number}")]
    writer.create([*handed, *sent])
    new, sent_new = writer.hand(handed, _NEW, batches), writer.send(sent, _NEW, batches)
    rows = loading.fetch(writer.job_pk(handed[0]))
    loaded = writer.here.measure(batches * BATCH, lambda: loading.load(rows))
    copied = None
    if isinstance(loading, PostgresLoading):
        texts = copy_texts(loading.fetch(writer.job_pk(sent[0])))
        copied = writer.here.measure(batches * BATCH, lambda: loading.load_texts(texts))
    moved, sent_moved = writer.hand(handed, _MOVES, batches), writer.send(sent, _MOVES, batches)
    return Round(new, sent_new, loaded, copied, moved, sent_moved)


def _measure_reporters(stage: Stage, writer: Writer) -> None:
    """Have the granules of four jobs moved at once, and those of one."""
    batches = stage.number(10, 3)
    for way, write, goal in (
        ("through the rpc", writer.send, Goal(ratio_at_least=1.5)),
        ("at JobStore, from threads", writer.hand, NO_GOAL),
    ):
        four: list[Effort] = []
        alone: list[Effort] = []
        for number in range(ROUNDS):
            keys = _keys(f"{way}-{number}", REPORTERS + 1)
            writer.create(keys)
            writer.hand(keys, _NEW, batches)
            alone.append(write(keys[:1], _MOVES, batches))
            four.append(write(keys[1:], _MOVES, batches))
        name = f"four reporters on four jobs, transitions, {way}"
        add_rates(stage.findings, name, four, "granule", alone, "one reporter", goal)


def _measure_singles(stage: Stage, writer: Writer) -> None:
    keys = _keys("singles", SINGLES)
    writer.create_small(keys)
    together, apart = [], []
    for _ in range(ROUNDS):
        together.append(writer.storm(keys[:1], stage.seconds(2)))
        apart.append(writer.storm(keys, stage.seconds(2)))
    goal = Goal(ratio_at_least=1.5)
    name = "single reports, 16 reporters on one job"
    add_rates(stage.findings, name, together, "report", apart, "on 16 jobs", goal)


def _keys(project: str, jobs: int) -> Sequence[Key]:
    return [(project, f"job-{number}") for number in range(jobs)]

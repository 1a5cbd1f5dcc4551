"""Leases: one owner at a time, and nothing is written by the right of one that is lost."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier

import pytest
from moments import wait_until
from reports import JOB, PENDING, granule, job
from stored import connected, opened

from jobstatus_grpc.errors import JobNotFound, LeaseLost, StoreUnavailable
from jobstatus_grpc.store.base import JobStore


def test_a_lease_is_one_owners_until_it_expires_or_is_let_go(store: JobStore) -> None:
    lease = store.take_lease("orca/a", 30)
    assert lease is not None
    assert store.take_lease("orca/a", 30) is None
    other = store.take_lease("orca/b", 30)
    assert other is not None
    store.renew_lease(lease, 30, "half")
    assert store.take_lease("orca/a", 30) is None
    store.renew_lease(lease, 0)
    second = store.take_lease("orca/a", 0.1)
    assert second is not None
    assert (second.number, second.progress) == (lease.number + 1, "half")
    with pytest.raises(LeaseLost):
        store.renew_lease(lease, 30, "more")
    wait_until(lambda: store.take_lease("orca/a", 30) is not None, "the lease has expired")


def test_of_many_that_take_a_lease_nobody_had_before_one_gets_it(database_url: str, store: JobStore) -> None:
    together = Barrier(4)

    def take_all(other: JobStore) -> list[bool]:
        taken = []
        for number in range(200):
            together.wait(10)
            taken.append(other.take_lease(f"orca/{number}", 30) is not None)
        return taken

    with ExitStack() as stack, ThreadPoolExecutor(4) as threads:
        stores = [stack.enter_context(opened(database_url)) for _ in range(4)]
        for taken in zip(*threads.map(take_all, stores), strict=True):
            assert sum(taken) == 1


def test_a_report_by_a_lost_lease_writes_nothing(store: JobStore) -> None:
    lost = store.take_lease("orca", 0)
    assert lost is not None
    store.report(job(granule("a", PENDING)), lease=lost)
    lease = store.take_lease("orca", 30)
    assert lease is not None
    with pytest.raises(LeaseLost):
        store.report(job(granule("b", PENDING)), lease=lost)
    with pytest.raises(LeaseLost):
        store.report(job(granule("b", PENDING), key=JOB._replace(job_id="other")), lease=lost)
    assert store.report(job(granule("c", PENDING)), lease=lease).totals.pending == 2
    with pytest.raises(JobNotFound):
        store.read_job(JOB._replace(job_id="other"))


def test_a_lease_cannot_be_taken_before_what_is_written_by_it_has_ended(postgres_url: str) -> None:
    with opened(postgres_url) as store, connected(postgres_url) as connection:
        lease = store.take_lease("orca", 0)
        assert lease is not None
        connection.exec_driver_sql("begin; select 1 from source_lease for key share")
        store.renew_lease(lease, 0)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.take_lease("orca", 30)
        assert time.monotonic() - began > 1
        connection.exec_driver_sql("commit")
        assert store.take_lease("orca", 30) is not None

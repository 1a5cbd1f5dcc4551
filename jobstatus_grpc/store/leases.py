"""Leases: at any time one process writes what a source tells.

A lease is a number that only grows. Whoever writes by its right looks at the number in the transaction that
writes, and keeps it from changing until that has ended: an owner that was stopped, and wakes up when its
lease is another's, finds another number. The clock only decides when a lease may be taken from its owner;
were it wrong, nothing would be written twice or out of order.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from sqlalchemy import Connection, text

from jobstatus_grpc.errors import LeaseLost
from jobstatus_grpc.model import Granule, GranuleKey
from jobstatus_grpc.store.base import JobStore, Lease

T = TypeVar("T")

SHARED: Final = "for key share"
"""Lets prolongations pass, which change no key, and another owner wait."""

# Of two that add it at once the later one does nothing, whichever of the two keys it comes upon first.
_ADD: Final = text("""
insert into source_lease (name, number, expire_time, progress) values (:name, 0, 0, '') on conflict do nothing
""")
_TAKE: Final = text("""
update source_lease set number = number + 1, expire_time = :expire_time
where name = :name and expire_time < :now
returning number, progress
""")
_RENEW: Final = text("""
update source_lease set expire_time = :expire_time, progress = coalesce(:progress, progress)
where name = :name and number = :number
""")
_SELECT: Final = "select number from source_lease where name = :name and number = :number"


class LeasingStore(JobStore):
    """The part of a store that gives leases."""

    @abc.abstractmethod
    def hold_lease(self, connection: Connection, lease: Lease) -> bool:
        """Return whether a lease is held; if so, nobody takes it before the transaction has ended."""

    @abc.abstractmethod
    def read_granules(
        self, connection: Connection, job_pk: int, keys: Sequence[GranuleKey]
    ) -> tuple[int, Mapping[GranuleKey, Granule]]:
        """Return the database's clock, and those of the granules that exist, ready to be merged."""

    @abc.abstractmethod
    def _writing(self, work: Callable[[Connection], T]) -> T:
        """Do some work in a transaction that writes, trying again where that helps."""

    def take_lease(self, name: str, seconds: float) -> Lease | None:
        def run(connection: Connection) -> Lease | None:
            return take(connection, name, self.read_granules(connection, 0, ())[0], seconds)

        return self._writing(run)

    def renew_lease(self, lease: Lease, seconds: float, progress: str | None = None) -> None:
        def run(connection: Connection) -> None:
            renew(connection, lease, self.read_granules(connection, 0, ())[0], seconds, progress)

        self._writing(run)


def take(connection: Connection, name: str, now: int, seconds: float) -> Lease | None:
    """Take a lease; `None` if another holds it at `now`."""
    values = {"name": name, "now": now, "expire_time": _end(now, seconds)}
    connection.execute(_ADD, {"name": name})
    row = connection.execute(_TAKE, values).one_or_none()
    return None if row is None else Lease(name, row[0], row[1])


def renew(connection: Connection, lease: Lease, now: int, seconds: float, progress: str | None) -> None:
    """Keep a lease until some seconds from `now`, and note what is not `None`.

    Raises:
        LeaseLost: another has taken it.
    """
    values = {"name": lease.name, "number": lease.number, "expire_time": _end(now, seconds)}
    if connection.execute(_RENEW, {**values, "progress": progress}).rowcount != 1:
        raise LeaseLost(lease.name)


def is_held(connection: Connection, lease: Lease, lock: str = "") -> bool:
    """Return whether a lease is held still, having locked its row as `lock` says."""
    values = {"name": lease.name, "number": lease.number}
    return connection.execute(text(f"{_SELECT} {lock}"), values).one_or_none() is not None


def _end(now: int, seconds: float) -> int:
    return now + round(seconds * 1_000_000) - (seconds == 0)

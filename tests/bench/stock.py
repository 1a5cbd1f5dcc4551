"""Jobs as a bench finds them: many at once, past the store, and as the store would have left them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import psycopg2

# Half of a job's granules have succeeded and half are staged, each by a change of its own, a hundred to a
# report. Of the history there is only the head, without which there is no job.
_STOCK = """
with numbered as (
    select number, cast(extract(epoch from now()) * 1000000 as bigint) - 1000 * number as made
    from generate_series(%(first)s, %(last)s) as number
), made as (
    insert into job (project_id, job_id, system, job_type, state, attempt, description, create_time,
        begin_time, update_time, unspecified_count, pending_count, staged_count, succeeded_count,
        failed_count, granules_complete, labels, revision, state_reported, begin_time_reported,
        end_time_reported, commit_id, change_floor, last_report_time)
    select 'default', 'job-' || lpad(number::text, 7, '0'), 'orca', 'recovery', 2, 1, 'job ' || number,
        made - 9000000, made - 5000000, made, 0, 0, %(granules)s / 2, %(granules)s - %(granules)s / 2, 0,
        true, '{"owner": "bench"}', %(granules)s + 1, false, false, false, hashint8extended(number, 7),
        %(granules)s + 1, made
    from numbered
    returning *
), logged as (
    insert into change (job_pk, revision, commit_id, change_time, kind, collection_id, granule_id,
        previous_state, state, attempt, unspecified_count, pending_count, staged_count, succeeded_count,
        failed_count)
    select job_pk, revision, commit_id, update_time, 1, 'tiles',
        'granule-' || lpad(%(granules)s::text, 8, '0'), 1, 2, 1, unspecified_count, pending_count,
        staged_count, succeeded_count, failed_count
    from made
)
insert into granule (job_pk, collection_id, granule_id, state, native_state, attempt, request_time,
    end_time, update_time, revision)
select job_pk, 'tiles', 'granule-' || lpad(number::text, 8, '0'), 2 + number %% 2,
    case number %% 2 when 0 then 'staged' else 'success' end, 1, create_time,
    case number %% 2 when 1 then update_time - 7 * number end, update_time - number / 100, number + 1
from made cross join generate_series(1, %(granules)s) as number
"""


class Stock:
    """A database whose jobs are numbered through.

    Args:
        url: the database; it is up to date, and empty.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._jobs = 0

    def add(self, jobs: int, granules: int) -> Sequence[str]:
        """Have so many jobs more, of so many granules each; return their ids."""
        first = self._jobs + 1
        self._jobs += jobs
        with closing(psycopg2.connect(self.url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(_STOCK, {"first": first, "last": self._jobs, "granules": granules})
                # As it would be by itself some minutes later.
                cursor.execute("vacuum analyze")
        return [f"job-{number:07d}" for number in range(first, self._jobs + 1)]

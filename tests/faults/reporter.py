"""A reporter in a process of its own: tells the states of granules in batches, in an order of its own.

Its arguments are the server's address, the job's id, the number of granules, the size of a batch, and what
its order is drawn from. It prints how many granules' reports were answered.
"""

from __future__ import annotations

import random
import sys

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

STATES = (pb.GRANULE_STATE_PENDING, pb.GRANULE_STATE_STAGED, pb.GRANULE_STATE_SUCCEEDED)


def main(address: str, job_id: str, number: int, size: int, seed: int) -> int:
    chosen = random.Random(seed)
    starts = list(range(0, number, size))
    answered = 0
    with JobStatusClient(address, connect_timeout=60) as client:
        for state in STATES:
            chosen.shuffle(starts)
            for start in starts:
                names = [f"g{index:06d}" for index in range(start, min(start + size, number))]
                # Neighbours overlap: a granule at an edge is in the batches of two.
                names += [f"g{(start + size) % number:06d}"]
                batch = [pb.Granule(collection_id="c", granule_id=name, state=state) for name in names]
                client.report_granules(job_id, batch)
                answered += len(batch)
    return answered


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))

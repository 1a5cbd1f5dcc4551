"""Leaving in time, whatever holds the process up."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import Final

_log = logging.getLogger(__name__)

# After the draining: for calls to be cancelled and threads to end, before a process leaves without them.
CLEARING_SECONDS: Final = 3.5


def leave_within(seconds: float, status: int) -> None:
    """End the process with `status` after so many seconds, if it has not ended by itself.

    Python waits at its end for threads that work, and a thread may be waiting for a database that has
    fallen silent. What is cut off is a crash to the database and to clients, and they are made for it.
    """
    threading.Thread(
        target=_insist, args=(time.monotonic() + seconds, status), name="jobstatus-leaving", daemon=True
    ).start()


def _insist(moment: float, status: int) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
    busy = [thread.name for thread in threading.enumerate() if not thread.daemon]
    _log.warning("leaving now; still busy: %s", ", ".join(sorted(busy)))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)

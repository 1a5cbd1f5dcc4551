"""What the operating system says of a process."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_CPUCLOCK_SCHED = 2
# Where a process's parent is told, and what its children used that have ended and were waited for, in ticks.
_PARENT, _ENDED_USER, _ENDED_SYSTEM = 1, 13, 14
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return how much of a processor a process has used, in its own code and in the kernel's, all threads."""
    # The process's clock by its number, as clock_getcpuclockid(3) makes it: the same account as in
    # /proc/PID/stat, in nanoseconds and not in hundredths of a second.
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


def busy_seconds() -> float:
    """Return for how long the machine's processors have been at work, all together, whoever had them."""
    counts = Path("/proc/stat").read_text().splitlines()[0].split()[1:8]
    user, nice, system, _idle, _iowait, irq, softirq = map(int, counts)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def family_cpu_seconds(pid: int) -> float:
    """Return how much of a processor a process and its children have used, those that have ended included."""
    used = cpu_seconds(pid)
    for path in Path("/proc").glob("[0-9]*/stat"):
        # Processes come and go meanwhile.
        with suppress(OSError):
            fields = _stat_fields(path)
            if int(fields[_PARENT]) == pid:
                used += cpu_seconds(int(path.parent.name))
    ended = _stat_fields(Path(f"/proc/{pid}/stat"))
    return used + (int(ended[_ENDED_USER]) + int(ended[_ENDED_SYSTEM])) / _TICKS


def _stat_fields(path: Path) -> list[str]:
    """Return the fields of proc(5) after the name, which may hold anything."""
    return path.read_text().rpartition(")")[2].split()


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has now."""
    return _status(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """Return how much memory a process had at most since `forget_peak`."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Have the peak be what it is now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise AssertionError(f"{name} of {pid} is not known")

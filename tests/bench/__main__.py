"""`python -m bench [SECTION …]`: measure, print the table, and write it to where BENCH_JSON says."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import growth, reads, secure, sources, watch, writes
from bench.figures import Findings
from bench.stage import Stage

SECTIONS: Mapping[str, Callable[[Stage], None]] = {
    "watch": watch.measure,
    "reads": reads.measure,
    "writes": writes.measure,
    "growth": growth.measure,
    "secure": secure.measure,
    "sources": sources.measure,
}


def main(names: list[str]) -> int:
    """Measure the named sections, or all; return the exit status: 1 if something could not be measured."""
    unknown = set(names) - SECTIONS.keys()
    if unknown:
        print(f"no such section: {', '.join(sorted(unknown))}; there are: {', '.join(SECTIONS)}")
        return 2
    findings = Findings()
    begun = time.monotonic()
    failed = False
    with Stage(float(os.environ.get("BENCH_SCALE") or 1), findings) as stage:
        for name in names or SECTIONS:
            findings.section = name
            print(f"{name}:", flush=True)
            try:
                SECTIONS[name](stage)
            except Exception:
                # The figures so far, and the other sections, are none the worse for it.
                traceback.print_exc()
                failed = True
    findings.show()
    print(f"{time.monotonic() - begun:.0f} s at scale {stage.scale:g}, median of the rounds (least–greatest)")
    if path := os.environ.get("BENCH_JSON"):
        findings.write(Path(path))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

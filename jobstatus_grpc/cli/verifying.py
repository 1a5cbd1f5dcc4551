"""The command that holds a server to its promises."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jobstatus_grpc.cli.connection import hinted, secrets
from jobstatus_grpc.cli.terminal import clean, say, table
from jobstatus_grpc.verify import Breach, Findings, Guarantee, Probe

BROKEN: Final = 1

_SHOWN_BREACHES: Final = 10
# The numbers of the states on the wire.
_STATES: Final = ("unspecified", "pending", "staged", "succeeded", "failed")


def verify_job(
    server: str, project_id: str, job_id: str, watchers: int, seconds: float, as_json: bool
) -> int:
    """Watch a job with several watchers, and say what that has proved."""
    with hinted(server):
        probe = Probe(server, project_id, job_id, watchers=watchers, seconds=seconds, **secrets())
        findings = probe.run()
    if as_json:
        say(json.dumps(_value(job_id, findings)))
    else:
        for line in _lines(job_id, findings):
            say(line)
    return BROKEN if findings.breaches else 0


def _lines(job_id: str, findings: Findings) -> Iterator[str]:
    yield f"job {clean(job_id)}, {len(findings.watchers)} watchers: {_seen_words(findings.seen)}"
    yield from table(
        [
            (guarantee, guarantee.words, f"held {held} times" if held else "did not come up")
            for guarantee, held in _checked(findings).items()
        ],
        "  ",
    )
    yield f"  two watchers held the same revision {findings.compared} times"
    agreement = findings.agreement
    if agreement is not None:
        totals = zip(_STATES, agreement.totals, strict=True)
        told = ", ".join(f"{count} {state}" for state, count in totals if count) or "no granules"
        yield f"  at revision {agreement.revision} {agreement.watchers} watchers held {told}: all the same,"
        yield "    a last read by pages among them"
    for breach in findings.breaches[:_SHOWN_BREACHES]:
        yield f"broken: {clean(breach.watcher)}: {clean(str(breach))}"
        yield from (f"    {clean(line)}" for line in breach.around)
    if len(findings.breaches) > _SHOWN_BREACHES:
        yield f"and {len(findings.breaches) - _SHOWN_BREACHES} more"
    yield "NOT proved" if findings.breaches else "proved"


def _seen_words(seen: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in seen.items())


def _checked(findings: Findings) -> dict[Guarantee, int]:
    return {guarantee: findings.checked.get(guarantee, 0) for guarantee in Guarantee}


def _value(job_id: str, findings: Findings) -> dict[str, Any]:
    agreement = findings.agreement
    told: dict[str, Any] | None = None
    if agreement is not None:
        told = {
            "revision": agreement.revision,
            "totals": dict(zip(_STATES, agreement.totals, strict=True)),
            "digest": f"{agreement.digest:016x}",
            "watchers": agreement.watchers,
        }
    return {
        "job_id": job_id,
        "proved": not findings.breaches,
        "checked": {str(guarantee): held for guarantee, held in _checked(findings).items()},
        "seen": dict(findings.seen),
        "watchers": {name: dict(seen) for name, seen in findings.watchers.items()},
        "compared": findings.compared,
        "agreement": told,
        "breaches": [_breach_value(breach) for breach in findings.breaches],
    }


def _breach_value(breach: Breach) -> dict[str, Any]:
    return {
        "guarantee": str(breach.guarantee),
        "watcher": breach.watcher,
        "words": breach.words,
        "around": breach.around,
    }

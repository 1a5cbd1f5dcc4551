"""The section `watch`: what it costs to follow jobs, and how soon a watcher knows."""

from __future__ import annotations

from bench import fan_out, holding, latency
from bench.stage import Stage


def measure(stage: Stage) -> None:
    """Measure all figures of watching."""
    fan_out.measure(stage)
    latency.measure(stage)
    holding.measure(stage)

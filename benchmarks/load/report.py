"""What a load showed, as it stands in a file of results."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.load.crowds import RequestRecord
from benchmarks.load.judging import Observations, judge, latency, trends
from benchmarks.load.profiles import Profile
from benchmarks.verdicts import summary

Span = tuple[float, float]
"""Of time, in seconds since 1970."""


def describe(
    seen: Observations,
    neighbour: Sequence[RequestRecord],
    *,
    quiet: Sequence[Span],
    load: Span,
    profile: Profile,
    pace: float,
) -> dict[str, Any]:
    """Judge a load and return all there is to say of it.

    Args:
        seen: Everything that was gathered.
        neighbour: All that the neighbour asked, quiet or not.
        quiet: Before and after the load.
        load: When it was on.
        profile: What was to be held.
        pace: How many times as slow the machine is.
    """
    verdicts = judge(seen, profile, pace)
    latencies = {
        "before": latency(during(neighbour, *quiet[0])),
        "under load": latency(during(neighbour, *load)),
        "after": latency(during(neighbour, *quiet[-1])),
    }
    return {
        "ok": all(verdict.is_kept for verdict in verdicts),
        "promises": summary(verdicts),
        "neighbour": latencies,
        "ratios": _ratios(latencies),
        "clients": {what: latency(seen.of(what)) for what in _kinds(seen)},
        "outcomes": _outcomes(seen),
        "held": {kind: _middle(held) for kind, held in seen.held.items() if any(held)},
        "longest_s": _longest(seen),
        "uploads": len(seen.uploads),
        "tries": sum(upload["tries"] for upload in seen.uploads),
        "tasks": dict(Counter(task["status"] for task in seen.ended.values())),
        "event_delay_s": _middle(seen.delays),
        "counts": dict(seen.counts),
        "service": _costs(seen),
    }


def _costs(seen: Observations) -> dict[str, Any]:
    samples = seen.samples
    if len(samples) < 8:
        return {}
    seconds = samples[-1].at - samples[0].at
    return {
        "before": asdict(seen.before),
        "after": asdict(seen.after),
        "most": {
            name: max(getattr(sample, name) for sample in samples)
            for name in ("rss_mib", "descriptors", "threads")
        },
        "trends": {name: went.to_json() for name, went in trends(samples).items()},
        "cores_used": round((samples[-1].cpu_s - samples[0].cpu_s) / seconds, 2),
    }


def during(asked: Sequence[RequestRecord], since: float, until: float) -> list[RequestRecord]:
    """Return what was asked in a span of time."""
    return [one for one in asked if since <= one.at < until]


def _kinds(seen: Observations) -> list[str]:
    return [what for what in ("predict", "upload", "read", "list") if seen.of(what)]


def _outcomes(seen: Observations) -> dict[str, dict[str, int]]:
    counts_of: dict[str, Counter[str]] = {}
    for one in seen.asked:
        counts_of.setdefault(one.what, Counter())[f"{one.status or '-'} {one.outcome}"] += 1
    return {what: dict(counts.most_common()) for what, counts in sorted(counts_of.items())}


def _longest(seen: Observations) -> dict[str, float]:
    whats = {one.what for one in seen.asked}
    return {what: max(one.seconds for one in seen.of(what)) for what in sorted(whats)}


def _middle(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    ordered = sorted(values)
    return {
        "p50": ordered[len(ordered) // 2],
        "p99": ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
        "max": ordered[-1],
    }


def _ratios(latencies: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return how many times as long as before the neighbour waited."""
    return {
        f"{name}, {figure.removesuffix('_ms')}": round(
            latencies[name][figure] / latencies["before"][figure], 2
        )
        for name in ("under load", "after")
        for figure in ("p50_ms", "p99_ms")
        if latencies[name][figure] and latencies["before"][figure]
    }

"""What a load showed, held against what is promised."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos.measures import quantile
from benchmarks.load.crowds import RequestRecord
from benchmarks.load.profiles import Profile
from benchmarks.load.sampling import Sample, Trend, trend
from benchmarks.verdicts import Verdict
from registry.statuses import TaskStatus

MAX_WAIT_S = 5.0
"""`FILOPODIA_MAX_WAIT_S` as it comes: the longest a prediction is let wait."""
MARGIN_S = 2.0
"""For sending, decoding and scoring, on top; times the pace."""
LEAST_ADMITTED = 0.5
"""Share of the predictions that must be answered and not refused: who refuses everybody keeps no promise."""
LEAST_HELD = 0.5
"""Share of the event streams that must have been open at once: a load that was not there shows nothing."""
GROWTH = {"rss_mib": (0.05, 24.0), "descriptors": (0.10, 40.0), "threads": (0.10, 32.0)}
"""Share of its mean, and amount, by which a figure may grow between the second and the last quarter of a load. Pools
begin their threads as they need them; a thread a request would be hundreds."""
LEFT_DESCRIPTORS, LEFT_THREADS = 40, 32
"""More than before the load, once everybody has gone: a pool of database connections and one of threads, which stay."""


@dataclass
class Observations:
    """Everything that was gathered."""

    asked: list[RequestRecord]
    uploads: list[dict[str, Any]]
    ended: dict[str, dict[str, Any]]
    """Tasks that were acknowledged, as they were read at the end, by id."""
    samples: list[Sample]
    """Of the service, under load."""
    before: Sample
    after: Sample
    """Once all clients had gone."""
    held: dict[str, list[int]]
    """How many streams and slow bodies were open, every second."""
    counts: Counter[str] = field(default_factory=Counter)
    delays: list[float] = field(default_factory=list)
    """Seconds from an event to its watcher."""

    def of(self, *whats: str) -> list[RequestRecord]:
        """Return the requests of some kinds."""
        return [one for one in self.asked if one.what in whats]


def judge(seen: Observations, profile: Profile, pace: float) -> list[Verdict]:
    """Hold a load against what is promised."""
    return [
        *_predictions(seen, pace),
        *_uploads(seen),
        *_streams(seen, profile),
        _no_errors(seen),
        *_flatness(seen),
    ]


def _predictions(seen: Observations, pace: float) -> list[Verdict]:
    asked = seen.of("predict", "neighbour")
    honest = Verdict("a prediction is admitted, or refused with Retry-After", len(asked))
    honest.violations += _said(asked, ("ok", "refused", "timeout"))
    answered = Verdict("no prediction times out", len(asked))
    answered.violations += _said(asked, ("ok", "refused"), only="timeout")
    bound = MAX_WAIT_S + MARGIN_S * pace
    soon = Verdict(
        f"an answer comes within MAX_WAIT_S and a margin, {bound:.1f} s here", len(asked)
    )
    soon.violations += [
        f"{one.seconds:.1f} s, of which the client's own {one.lag_s:.1f}: {one.outcome}"
        for one in sorted(asked, key=lambda one: -one.seconds)
        if one.seconds - one.lag_s > bound
    ]
    admitted = sum(one.outcome == "ok" for one in asked)
    enough = Verdict(f"at least {LEAST_ADMITTED:.0%} of the predictions are admitted", len(asked))
    if not asked or admitted < LEAST_ADMITTED * len(asked):
        enough.violations.append(f"{admitted} of {len(asked)}")
    return [honest, answered, soon, enough]


def _uploads(seen: Observations) -> list[Verdict]:
    tries, uploads = seen.of("upload"), seen.uploads
    honest = Verdict("an upload is accepted, or refused with Retry-After", len(tries))
    honest.violations += _said(tries, ("ok", "refused"))
    accepted = Verdict("every upload is accepted in the end, once", len(uploads))
    accepted.violations += [
        f"{upload['key']}: {upload['refusal'] or upload['tasks']}"
        for upload in uploads
        if upload["refusal"] or len(upload["tasks"]) != 1
    ]
    ids = [task for upload in uploads for task in upload["tasks"]]
    accepted.violations += [f"{task}: two uploads" for task, n in Counter(ids).items() if n > 1]
    ended = Verdict("an acknowledged task ends in a version or an explained failure", len(ids))
    ended.violations += [
        f"{task}: {_unended(seen.ended.get(task))}"
        for task in ids
        if _unended(seen.ended.get(task))
    ]
    return [honest, accepted, ended]


def _unended(task: Mapping[str, Any] | None) -> str:
    """Say what an acknowledged task lacks; nothing if it has ended as it should."""
    if task is None:
        return "unknown"
    error = task["error"] or {}
    is_explained = task["status"] == TaskStatus.FAILED and error.get("code") and error.get("detail")
    is_published = task["status"] == TaskStatus.SUCCEEDED and task["version"]
    return "" if is_explained or is_published else f"{task['status']}, {task['version']}, {error}"


def _streams(seen: Observations, profile: Profile) -> list[Verdict]:
    streams = seen.of("stream")
    whole = Verdict("an event stream comes in order, and ends with its task", len(streams))
    whole.violations += _said(streams, ("ok", "refused"))
    most = max(seen.held.get("watchers", []), default=0)
    there = Verdict(f"at least {LEAST_HELD:.0%} of the event streams are held", profile.streams)
    if most < LEAST_HELD * profile.streams:
        there.violations.append(f"{most} at most")
    return [whole, there]


def _no_errors(seen: Observations) -> Verdict:
    verdict = Verdict("no answer is a 5xx but an honest 503 or 507", len(seen.asked))
    verdict.violations += _said([one for one in seen.asked if one.status >= 500], ("refused", "ok"))
    return verdict


def _said(asked: Sequence[RequestRecord], fine: Sequence[str], *, only: str = "") -> list[str]:
    """Return what was not fine, one line a kind."""
    bad = Counter(
        f"{one.what}: {one.outcome}"
        for one in asked
        if one.outcome not in fine and (not only or one.outcome == only)
    )
    return [f"{n} x {text}" for text, n in bad.most_common()]


def trends(samples: Sequence[Sample]) -> dict[str, Trend]:
    """Return how memory, descriptors and threads went under load."""
    times = [sample.at for sample in samples]
    return {
        name: trend(times, [getattr(s, name) for s in samples], share=share, least=least)
        for name, (share, least) in GROWTH.items()
    }


def _flatness(seen: Observations) -> list[Verdict]:
    verdicts = []
    try:
        trend_of = trends(seen.samples)
    except ValueError as error:
        return [Verdict("memory, descriptors and threads are flat", 0, [str(error)])]
    for name, went in trend_of.items():
        verdict = Verdict(f"{name} is flat under load", len(seen.samples))
        if not went.is_flat:
            verdict.violations.append(f"{went.to_json()}")
        verdicts.append(verdict)
    left = Verdict("descriptors and threads go back once everybody has gone", 2)
    for name, most in (("descriptors", LEFT_DESCRIPTORS), ("threads", LEFT_THREADS)):
        before, after = getattr(seen.before, name), getattr(seen.after, name)
        if after > before + most:
            left.violations.append(f"{name}: {before:.0f} before, {after:.0f} after")
    return [*verdicts, left]


def latency(asked: Sequence[RequestRecord]) -> dict[str, float | int | None]:
    """Return how many requests were admitted and refused, and how long those admitted took, in milliseconds."""
    good = [1000 * one.seconds for one in asked if one.outcome == "ok"]
    counts = Counter(one.outcome for one in asked)
    return {
        "asked": len(asked),
        "admitted": counts["ok"],
        "refused": counts["refused"],
        "p50_ms": round(statistics.median(good), 1) if good else None,
        "p99_ms": round(quantile(good, 0.99), 1) if good else None,
        "max_ms": round(max(good), 1) if good else None,
    }

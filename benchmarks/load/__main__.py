"""A load that is held: `python -m benchmarks.load --profile full --out benchmarks/results/load.json`.

One real service; all at once, clients that predict on connections kept alive, bursts of uploads that are insisted on,
event streams held open, and bodies that come a byte a second, while it learns what is uploaded. A neighbour at normal
priority asks at fixed times before, during and after. Exit code 1 if a promise is broken. Timings are of this machine,
all clients on it: take the ratios.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.bad_input.service import LEARNER, Service
from benchmarks.files import write_bytes
from benchmarks.load.crowds import GIVE_UP_S, INSIST_S, Asked, Plan
from benchmarks.load.judging import Seen, judge, latency, trends
from benchmarks.load.profiles import PROFILES, Profile
from benchmarks.load.sampling import Sample, Sampler, look
from benchmarks.pace import measure
from benchmarks.verdicts import Verdict, summary

KEYS = {
    "predictors": ("predictor", 10),
    "neighbour": ("predictor", 1),
    "uploaders": ("trainer", 1),
    "watchers": ("reader", 1),
    "tricklers": ("trainer", 2),
}
"""Role and number of the keys of each crowd."""
SIZES = ("clients", "uploads", "streams", "slow_bodies")
OTHERS = 3
"""Learners that learn beside the one that is asked."""
NEIGHBOUR_S = 0.1
LEAVE_S = 60.0
"""For the service to notice that everybody has gone; times the pace."""
READ_TRIES = 5


class Crowd:
    """A crowd's process."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load.crowd"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=plan.niceness > 0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(plan)) + "\n")
        self._process.stdin.flush()
        self._process.stdout.readline()

    def ask_to_stop(self) -> None:
        """Let it answer what is under way, and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def seen(self) -> dict[str, Any]:
        """Return what it saw, once it has ended.

        Raises:
            RuntimeError: If it died.
        """
        longest = (GIVE_UP_S + INSIST_S) * self.plan.pace + 60
        try:
            code = self._process.wait(longest)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        if code:
            raise RuntimeError(f"The crowd of {self.plan.kind} ended with {code}.")
        found: dict[str, Any] = json.loads(Path(self.plan.out).read_text())
        return found

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()


class Load:
    """One load on one service."""

    def __init__(
        self, service: Service, profile: Profile, folder: Path, *, seed: int, pace: float
    ) -> None:
        self._service = service
        self._profile = profile
        self._folder = folder
        self._seed = seed
        self._pace = pace
        self._crowds: list[Crowd] = []
        self._quiet: list[tuple[float, float]] = []

    def carry_out(self) -> dict[str, Any]:
        """Carry it out and return the report."""
        self._create_learners()
        try:
            with Sampler(self._service.process.pid) as sampler:
                return self._carry_out(sampler)
        finally:
            for crowd in self._crowds:
                crowd.kill()

    def _carry_out(self, sampler: Sampler) -> dict[str, Any]:
        profile = self._profile
        neighbour = self._start("neighbour", 1, NEIGHBOUR_S, niceness=0)
        self._rest(profile.quiet_s)
        before = look(self._service.process.pid)
        crowds = [
            self._start("watchers", profile.streams + 1, 0.0),
            self._start("tricklers", profile.slow_bodies, 0.0),
            self._start("uploaders", profile.uploads, 0.0),
            self._start("predictors", profile.clients, profile.think_s),
        ]
        began = time.time()
        time.sleep(profile.load_s)
        ended_at = time.time()
        for crowd in crowds:
            crowd.ask_to_stop()
        seen = {crowd.plan.kind: crowd.seen() for crowd in crowds}
        self._let_leave(before)
        ids = [task for upload in seen["uploaders"]["uploads"] for task in upload["tasks"]]
        tasks = self._drain(ids)
        after = look(self._service.process.pid)
        self._rest(profile.quiet_s)
        neighbour.ask_to_stop()
        seen["neighbour"] = neighbour.seen()
        samples = sampler.between(began, ended_at)
        gathered = _gather(seen, tasks, samples, before, after, (began, ended_at))
        everything = [Asked(*one) for one in seen["neighbour"]["asked"]]
        return self._report(gathered, everything, (began, ended_at))

    def _start(self, kind: str, n: int, think_s: float, *, niceness: int = 19) -> Crowd:
        role, n_keys = KEYS[kind]
        plan = Plan(
            kind=kind,
            url=self._service.url,
            keys=[self._key(f"{kind} {i}", role) for i in range(n_keys)],
            learners=[LEARNER, *_others()],
            n=n,
            think_s=think_s,
            ramp_s=min(10.0, self._profile.load_s / 12),
            seed=self._seed,
            pace=self._pace,
            out=str(self._folder / f"{kind}.json"),
            niceness=niceness,
        )
        crowd = Crowd(plan)
        self._crowds.append(crowd)
        return crowd

    def _key(self, name: str, role: str) -> str:
        answer = self._service.client.post("/v1/keys", json={"name": name, "role": role})
        key: str = answer.raise_for_status().json()["key"]
        return key

    def _create_learners(self) -> None:
        for name in _others():
            body = {"name": name, "strategy": "simplecil", "backbone": self._profile.backbone}
            self._service.client.post("/v1/learners", json=body).raise_for_status()

    def _rest(self, seconds: float) -> None:
        since = time.time()
        time.sleep(seconds)
        self._quiet.append((since, time.time()))

    def _let_leave(self, before: Sample) -> None:
        """Wait until the service has closed what the clients left."""
        deadline = time.monotonic() + LEAVE_S * self._pace
        while time.monotonic() < deadline:
            if look(self._service.process.pid).descriptors <= before.descriptors:
                return
            time.sleep(0.5)

    def _drain(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Wait until acknowledged tasks have ended, and return them as they are then."""
        deadline = time.monotonic() + self._profile.drain_s * self._pace
        found: dict[str, dict[str, Any]] = {}
        for task in ids:
            while True:
                answer = self._service.client.get(f"/v1/tasks/{task}?wait=10")
                if answer.is_success:
                    found[task] = answer.json()
                is_over = time.monotonic() > deadline
                if is_over or answer.status_code == 404 or found.get(task, {}).get("finished_at"):
                    break
        return found

    def _report(
        self, seen: Seen, neighbour: Sequence[Asked], load: tuple[float, float]
    ) -> dict[str, Any]:
        verdicts = judge(seen, self._profile, self._pace)
        quiet = [_during(neighbour, *span) for span in self._quiet]
        found = {
            "before": latency(quiet[0]),
            "under load": latency(_during(neighbour, *load)),
            "after": latency(quiet[-1]),
        }
        return {
            "ok": all(verdict.is_kept for verdict in verdicts),
            "promises": summary(verdicts),
            "neighbour": found,
            "ratios": _ratios(found),
            "clients": {what: latency(seen.of(what)) for what in _kinds(seen)},
            "outcomes": _outcomes(seen),
            "held": {kind: _middle(held) for kind, held in seen.held.items() if any(held)},
            "longest_s": _longest(seen),
            "uploads": len(seen.uploads),
            "tries": sum(upload["tries"] for upload in seen.uploads),
            "tasks": dict(Counter(task["status"] for task in seen.ended.values())),
            "event_delay_s": _middle(seen.delays),
            "counts": dict(seen.counts),
            "service": self._costs(seen, verdicts),
        }

    def _costs(self, seen: Seen, verdicts: Sequence[Verdict]) -> dict[str, Any]:
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


def _others() -> list[str]:
    return [f"load-{n}" for n in range(1, OTHERS + 1)]


def _gather(
    seen: dict[str, dict[str, Any]],
    tasks: dict[str, dict[str, Any]],
    samples: list[Sample],
    before: Sample,
    after: Sample,
    load: tuple[float, float],
) -> Seen:
    counts: Counter[str] = Counter()
    asked = []
    for kind, found in seen.items():
        own = [Asked(*one) for one in found["asked"]]
        asked += _during(own, *load) if kind == "neighbour" else own
        counts.update(found["counts"])
    return Seen(
        asked=asked,
        uploads=seen["uploaders"]["uploads"],
        ended=tasks,
        samples=samples,
        before=before,
        after=after,
        held={kind: found["held"] for kind, found in seen.items()},
        counts=counts,
        delays=seen["watchers"]["delays"],
    )


def _during(asked: Sequence[Asked], since: float, until: float) -> list[Asked]:
    return [one for one in asked if since <= one.at < until]


def _kinds(seen: Seen) -> list[str]:
    return [what for what in ("predict", "upload", "read", "list") if seen.of(what)]


def _outcomes(seen: Seen) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for one in seen.asked:
        found.setdefault(one.what, Counter())[f"{one.status or '-'} {one.outcome}"] += 1
    return {what: dict(counts.most_common()) for what, counts in sorted(found.items())}


def _longest(seen: Seen) -> dict[str, float]:
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


def _ratios(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return how many times as long as before the neighbour waited."""
    return {
        f"{name}, {figure.removesuffix('_ms')}": round(
            found[name][figure] / found["before"][figure], 2
        )
        for name in ("under load", "after")
        for figure in ("p50_ms", "p99_ms")
        if found[name][figure] and found["before"][figure]
    }


def main() -> int:
    """Carry out one load and print what it showed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="full")
    parser.add_argument("--minutes", type=float, help="of load")
    parser.add_argument("--clients", type=int)
    parser.add_argument("--uploads", type=int)
    parser.add_argument("--streams", type=int)
    parser.add_argument("--slow-bodies", type=int)
    parser.add_argument("--seed", type=int, default=1, help="decides images and pauses")
    parser.add_argument(
        "--pace", type=float, help="how many times as slow the machine is; default: measured"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    sizes = {name: getattr(arguments, name) for name in SIZES}
    if arguments.minutes is not None:
        sizes["load_s"] = 60 * arguments.minutes
    profile = PROFILES[arguments.profile].resized(sizes)
    pace = arguments.pace or measure()
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-load-") as name,
        Service(Path(name), backbone=profile.backbone) as service,
    ):
        service.teach("heron", "egret")
        own = Path(name) / "load"
        own.mkdir()
        found = Load(service, profile, own, seed=arguments.seed, pace=pace).carry_out()
        found["tracebacks_logged"] = (Path(name) / "log").read_text().count("Traceback")
    report = {
        "command": "python -m benchmarks.load",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, all clients on them",
        "profile": asdict(profile),
        "seed": arguments.seed,
        "pace": round(pace, 2),
        **found,
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    if arguments.out is not None:
        write_bytes(arguments.out, (json.dumps(report, indent=1) + "\n").encode())
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())

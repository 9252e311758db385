"""One load on one service: crowds started, watched and gathered in."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.bad_input.service import LEARNER, Service
from benchmarks.load.crowds import GIVE_UP_S, INSIST_S, Plan, RequestRecord
from benchmarks.load.judging import LEFT_DESCRIPTORS, Observations
from benchmarks.load.profiles import Profile
from benchmarks.load.report import Span, describe, during
from benchmarks.load.sampling import Sample, Sampler, look

KEYS = {
    "predictors": ("predictor", 10),
    "neighbour": ("predictor", 1),
    "uploaders": ("trainer", 1),
    "watchers": ("reader", 1),
    "tricklers": ("trainer", 2),
}
"""Role and number of the keys of each crowd."""
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
        report: dict[str, Any] = json.loads(Path(self.plan.out).read_text())
        return report

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
        return describe(
            gathered,
            [RequestRecord(*one) for one in seen["neighbour"]["asked"]],
            quiet=self._quiet,
            load=(began, ended_at),
            profile=profile,
            pace=self._pace,
        )

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
        """Wait until the service has closed what the clients left: few descriptors, and no fewer a moment later."""
        deadline = time.monotonic() + LEAVE_S * self._pace
        last = float("inf")
        while time.monotonic() < deadline:
            now = look(self._service.process.pid).descriptors
            if now >= last and now <= before.descriptors + LEFT_DESCRIPTORS:
                return
            last = now
            time.sleep(2.0)

    def _drain(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Wait until acknowledged tasks have ended, and return them as they are then."""
        deadline = time.monotonic() + self._profile.drain_s * self._pace
        answers: dict[str, dict[str, Any]] = {}
        for task in ids:
            while True:
                answer = self._service.client.get(f"/v1/tasks/{task}?wait=10")
                if answer.is_success:
                    answers[task] = answer.json()
                is_over = time.monotonic() > deadline
                if is_over or answer.status_code == 404 or answers.get(task, {}).get("finished_at"):
                    break
        return answers


def _others() -> list[str]:
    return [f"load-{n}" for n in range(1, OTHERS + 1)]


def _gather(
    seen: dict[str, dict[str, Any]],
    tasks: dict[str, dict[str, Any]],
    samples: list[Sample],
    before: Sample,
    after: Sample,
    load: Span,
) -> Observations:
    counts: Counter[str] = Counter()
    asked = []
    for kind, crowd in seen.items():
        own = [RequestRecord(*one) for one in crowd["asked"]]
        asked += during(own, *load) if kind == "neighbour" else own
        counts.update(crowd["counts"])
    return Observations(
        asked=asked,
        uploads=seen["uploaders"]["uploads"],
        ended=tasks,
        samples=samples,
        before=before,
        after=after,
        held={kind: crowd["held"] for kind, crowd in seen.items()},
        counts=counts,
        delays=seen["watchers"]["delays"],
    )

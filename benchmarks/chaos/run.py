"""One run from start to verdict: cluster up, load, quiet time, faults, drain, checks, cluster down."""

import atexit
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import structlog

from benchmarks.chaos import checker, judged_jobs, measures, operated
from benchmarks.chaos.checker import Rows
from benchmarks.chaos.clients import ClientRecord, Predictor, Reader, Target, Uploader
from benchmarks.chaos.cluster import Cluster
from benchmarks.chaos.history import History
from benchmarks.chaos.jobs import JobLog, JobPoster
from benchmarks.chaos.judged_jobs import StoredJobs, read_jobs
from benchmarks.chaos.nemesis import Nemesis
from benchmarks.chaos.operated import read_feedback
from benchmarks.chaos.operations import TARGET as OPERATED
from benchmarks.chaos.operations import Operator, OperatorLog
from benchmarks.chaos.power import PowerCuts
from benchmarks.chaos.schedule import Profile, find_places, make_schedule
from benchmarks.chaos.windows import Window
from benchmarks.verdicts import Verdict, summary
from benchmarks.waiting import TooLateError, wait_until
from registry import tasks
from registry.blobs.store import LocalBlobStore
from registry.errors import TaskEndedError
from registry.statuses import UNFINISHED, TaskStatus
from registry.tables import CONSOLIDATE

log = structlog.get_logger()

ROOT = Path(__file__).parents[2]
PREDICTIONS_PER_S = 8.0
"""Of each of the two predictors."""
CLIENTS = {
    "balanced": "all, asked again at the other api if one is dead",
    "direct": "all, asked at one api only",
}
"""What a report calls the predictors."""
FIRST_TASKS_S = 120.0
SETTLE_S = 3.0
"""After the last task, for apis to load its version and predictions to meet it."""
TARGETS = (
    Target("means-1", "simplecil", {}),
    Target("trained", "finetune", {"epochs": 60, "batch_size": 2}),
    Target("means-2", "simplecil", {}),
    Target("artsy", "artsy", {"epochs": 12, "batch_size": 2}),
)
"""Two learners whose tasks take a moment, two that train: kills are to hit every phase."""
DOCTOR_TIMEOUT_S = 120.0
ASK_TIMEOUT_S = 30.0
LISTED = {
    # Celery's words for a killed pool process, a message of a task that there is not, and a killed Redis.
    "worker": (
        "WorkerLostError",
        "Received unregistered task of type 'filopodia.unknown'",
        "Couldn't ack",
        "ConnectionError: Error",
    ),
}
"""Tracebacks that faults bring about by design, by the beginning of a program's name: parts of their text."""


class Run:
    """One run against one cluster."""

    def __init__(self, cluster: Cluster, profile: Profile, seed: int, *, pace: float = 1.0) -> None:
        """Prepare a run.

        Args:
            cluster: Not started yet.
            profile: How long and how hard.
            seed: Decides faults and images.
            pace: How many times as slow the machine is: the run lasts so much longer, its load is so much lighter, and
                answers and versions may take so much longer. What must never happen stays the same.
        """
        self.cluster = cluster
        self.profile = profile.slowed(pace)
        self.pace = pace
        self.seed = seed
        self.history = History(cluster.folder / "history.jsonl")
        self.record = ClientRecord()
        self.done = OperatorLog()
        self.jobs = JobLog()
        self.cuts = PowerCuts(cluster, self.record, self.done, self.jobs, pace=pace)
        self.places = find_places(ROOT)
        self._verdicts: list[Verdict] = []
        self._windows: dict[str, Window] = {}

    def carry_out(self) -> dict[str, Any]:
        """Do everything and return the report. Whatever happens, no process of the cluster is left."""
        atexit.register(self.cluster.kill_leftovers)
        signal.signal(signal.SIGTERM, _exit)
        try:
            self.cluster.start()
            nemesis = self._load_and_strike()
            rows, kept_jobs = self._judge()
            took = self.cluster.stop()
            self._verdicts += self.cuts.judge(self.history.answers)
        finally:
            leftovers = self.cluster.kill_leftovers()
            self.history.close()
        self._judge_end(took, leftovers, nemesis)
        return self._report(rows, kept_jobs, nemesis)

    def _load_and_strike(self) -> Nemesis:
        cluster, record, history = self.cluster, self.record, self.history
        urls, key = cluster.api_urls, cluster.key
        self._create_learners()
        reader = Reader(urls, key, history, record, pace=self.pace)
        uploader = Uploader(
            urls,
            key,
            history,
            record,
            TARGETS,
            seed=self.seed,
            window=len(cluster.workers),
            pace=self.pace,
        )
        predictors = [
            Predictor(
                name,
                urls,
                key,
                history,
                TARGETS,
                per_s=PREDICTIONS_PER_S / self.pace,
                is_balanced=is_balanced,
                pace=self.pace,
            )
            for name, is_balanced in zip(CLIENTS, (True, False), strict=True)
        ]
        operator = Operator(urls, key, history, self.done, seed=self.seed, pace=self.pace)
        poster = JobPoster(urls, key, history, self.jobs, TARGETS, seed=self.seed, pace=self.pace)
        nemesis = Nemesis(cluster, record, TARGETS[0].name, self.cuts, seed=self.seed)
        reader.start()
        for target in TARGETS:
            uploader.upload(target)
        operator.teach()
        self._wait_until_ended(FIRST_TASKS_S * self.pace)
        time.sleep(SETTLE_S * self.pace)
        for predictor in predictors:
            predictor.start()
        self._spend("quiet", self.profile.quiet_s)
        uploader.start()
        self._spend("calm", self.profile.calm_s)
        operator.start()
        poster.start()
        log.info("faults_begin")
        began = time.time()
        schedule = make_schedule(self.profile, self.places, self.seed)
        nemesis.run(schedule, seconds=self.profile.fault_s, extra_s=self.profile.extra_s)
        operator.is_paused.set()
        poster.is_paused.set()
        uploader.stop()
        self._windows["faults"] = Window(began, time.time())
        log.info("drain", unfinished=len(record.unfinished()))
        for program in cluster.programs:
            program.wait_ready(60 * self.pace)
        self._wait_until_ended(self.profile.drain_s)
        self._wait_for_consolidations(self.profile.drain_s)
        time.sleep(SETTLE_S * self.pace)
        for client in (*predictors, reader, operator, poster):
            client.stop()
        return nemesis

    def _create_learners(self) -> None:
        url = next(iter(self.cluster.api_urls.values()))
        headers = {"Authorization": f"Bearer {self.cluster.key}"}
        with httpx.Client(base_url=url, headers=headers, timeout=30 * self.pace) as client:
            for target in (*TARGETS, OPERATED):
                body = {
                    "name": target.name,
                    "strategy": target.strategy,
                    "backbone": "tiny",
                    "config": target.config,
                }
                client.post("/v1/learners", json=body).raise_for_status()

    def _spend(self, name: str, seconds: float) -> None:
        log.info(name, seconds=seconds)
        began = time.time()
        time.sleep(seconds)
        self._windows[name] = Window(began, time.time())

    def _wait_until_ended(self, timeout_s: float) -> None:
        records = (self.record, self.done.uploads, self.jobs)
        with suppress(TooLateError):
            wait_until(lambda: not any(record.unfinished() for record in records), timeout_s)

    def _wait_for_consolidations(self, timeout_s: float) -> None:
        """Wait until none waits or runs; those that are left then, since the machine is never quiet, are cancelled."""
        with suppress(TooLateError):
            wait_until(lambda: not self._consolidations(), timeout_s)
        for task_id in self._consolidations():
            with suppress(TaskEndedError), self.cluster.sessions.begin() as session:
                tasks.request_cancel(session, task_id)
        with suppress(TooLateError):
            wait_until(lambda: not self._consolidations(), timeout_s)

    def _consolidations(self) -> list[str]:
        with self.cluster.sessions() as session:
            page = tasks.list_tasks(session, statuses=UNFINISHED, mode=CONSOLIDATE)
        return [task.id for task in page.items]

    def _judge(self) -> tuple[Rows, StoredJobs]:
        """Judge what can be judged while the database still runs."""
        blobs = LocalBlobStore(self.cluster.blobs)
        with self.cluster.sessions() as session:
            rows = checker.read_rows(session)
            kept, kept_jobs = read_feedback(session), read_jobs(session)
        away = measures.outages(self.cluster.database_seen)
        taught = rows.named(*(target.name for target in TARGETS))
        self._verdicts += checker.check_uploads(taught, self.record, blobs)
        self._verdicts += checker.check_tasks(taught)
        self._verdicts += operated.check(
            self.done,
            rows,
            kept,
            away,
            learner=OPERATED.name,
            stale_s=measures.STALE_S * self.pace,
        )
        self._verdicts += operated.renamed(
            checker.check_uploads(rows.named(OPERATED.name), self.done.uploads, blobs)
        )
        self._judge_jobs(kept_jobs, rows, blobs)
        self._verdicts.append(checker.check_artifacts(rows, blobs))
        self._verdicts += measures.check_versions_answered(
            self.history.answers, rows, away, measures.STALE_S * self.pace
        )
        self._verdicts += checker.check_answers(self.history)
        doctor = self.cluster.begin_command("doctor", "--deep", "--json")
        output, errors = doctor.communicate(timeout=DOCTOR_TIMEOUT_S * self.pace)
        self._verdicts.append(checker.check_doctor(output, errors))
        return rows, kept_jobs

    def _judge_jobs(self, kept: StoredJobs, rows: Rows, blobs: LocalBlobStore) -> None:
        """Judge prediction jobs, and ask their versions about the same pictures for that."""
        expected = judged_jobs.ask(
            self.cluster.api_urls.values(),
            self.cluster.key,
            judged_jobs.questions(self.jobs, kept, rows),
            blobs,
            timeout_s=ASK_TIMEOUT_S * self.pace,
        )
        self._verdicts += [
            *judged_jobs.check_posts(self.jobs.operations, kept, rows, blobs),
            *judged_jobs.check_ends(self.jobs, kept),
            judged_jobs.check_answers(self.jobs, kept, rows, expected),
        ]

    def _judge_end(
        self, took: dict[str, float | None], leftovers: dict[int, str], nemesis: Nemesis
    ) -> None:
        """Judge what shows only once everything has stopped."""
        apis = {api.name: api for api in self.cluster.apis}
        answers = self.history.answers
        answered = Verdict("predictions are answered by an api that is up", len(answers))
        answered.violations += [
            f"{a.client} at {a.started_at:.2f}: {a.api} {a.outcome} after {a.seconds:.2f} s"
            for a in answers
            if not a.is_ok and not measures.is_excused(a, apis)
        ]
        stopped = Verdict("everything stops when asked, and leaves no process", len(took))
        stopped.violations += [f"{name} had to be killed" for name, s in took.items() if s is None]
        stopped.violations += [f"left: {command}" for command in leftovers.values()]
        slow = [
            o
            for one in nemesis.struck
            for o in one.details.get("under_way", [])
            if o != "not accepted"
        ]
        finished = Verdict(
            "a request under way when its api is asked to stop is answered", len(slow)
        )
        finished.violations += [outcome for outcome in slow if outcome != "200"]
        self._verdicts += [answered, stopped, finished]
        for program in self.cluster.programs:
            listed = next((v for k, v in LISTED.items() if program.name.startswith(k)), ())
            self._verdicts.append(checker.check_log(program.name, program.log, listed))
        harsh = Verdict(f"at least {self.profile.min_kills} kills", nemesis.kills)
        if nemesis.kills < self.profile.min_kills:
            harsh.violations.append(f"only {nemesis.kills}")
        self._verdicts.append(harsh)
        if self.profile.name == "full":
            missed = self._not_struck(nemesis)
            self._verdicts.append(Verdict("every failpoint was struck", len(self.places), missed))

    def _not_struck(self, nemesis: Nemesis) -> list[str]:
        struck = {one.fault.place for one in nemesis.struck if one.fault.action == "kill"}
        return sorted(set(self.places) - struck)

    def _report(self, rows: Rows, kept_jobs: StoredJobs, nemesis: Nemesis) -> dict[str, Any]:
        answers = self.history.answers
        apis = {api.name: api for api in self.cluster.apis}
        whole = self._windows["faults"]
        calm = self._windows["calm"]
        blobs = LocalBlobStore(self.cluster.blobs)
        away = measures.outages(self.cluster.database_seen)
        outcomes = Counter(upload.outcome for upload in self.record.uploads)
        return {
            "ok": all(verdict.is_kept for verdict in self._verdicts),
            "promises": summary(self._verdicts),
            "faults": {
                "n": len(nemesis.struck),
                "kills": nemesis.kills,
                "by_kind": dict(Counter(one.fault.label for one in nemesis.struck)),
                "left_out": dict(Counter(fault.label for fault in nemesis.pending)),
                "places_not_struck": self._not_struck(nemesis),
            },
            "uploads": {
                "acknowledged": outcomes["ok"],
                "unknown": outcomes["unknown"],
                "refused": outcomes["fail"],
                "tries": sum(upload.tries for upload in self.record.uploads),
                "answers": self._answers_to_uploads(),
            },
            "operations": operated.count(self.done),
            "jobs": measures.prediction_jobs(self.jobs, kept_jobs),
            "power_cuts": len(self.cuts.cuts),
            "tasks": _tasks(rows),
            "predictions": {
                "all": measures.rate(answers, apis),
                **{
                    name: measures.rate([a for a in answers if a.client == client], apis)
                    for client, name in CLIENTS.items()
                },
                "quiet": measures.rate(self._asked("quiet"), apis),
                "learning, no faults": measures.rate(self._asked("calm"), apis),
                "around publishes, no faults": measures.rate(
                    measures.around_publishes(answers, rows, calm), apis
                ),
                "during faults": measures.rate(self._asked("faults"), apis),
                "around publishes, during faults": measures.rate(
                    measures.around_publishes(answers, rows, whole), apis
                ),
            },
            "by_fault": measures.by_fault(answers, nemesis.struck, apis),
            "takeover": measures.takeovers(nemesis.struck, rows, away),
            "stops": measures.stops(self.cluster.programs, nemesis.struck),
            "starts": {p.name: measures.recovery(p) for p in self.cluster.programs},
            "files": checker.count_unreferenced(rows, self.cluster.blobs, blobs, kept_jobs.blobs()),
        }

    def _asked(self, window: str) -> list[Any]:
        span = self._windows[window]
        return measures.during(self.history.answers, span.since, span.until)

    def _answers_to_uploads(self) -> dict[str, int]:
        return dict(Counter(entry.details["outcome"] for entry in self.history.of("try")))


def _tasks(rows: Rows) -> dict[str, Any]:
    statuses = Counter(task.status for task in rows.tasks)
    attempts: Sequence[int] = [len(starts) for starts in rows.starts.values()]
    return {
        "all": len(rows.tasks),
        "succeeded": statuses[TaskStatus.SUCCEEDED],
        "failed": statuses[TaskStatus.FAILED],
        "declined": statuses[TaskStatus.DECLINED],
        "consolidations": sum(task.mode == CONSOLIDATE for task in rows.tasks),
        "errors": dict(Counter(t.error["code"] for t in rows.tasks if t.error)),
        "versions": len(rows.versions),
        "attempts": sum(attempts),
        "attempts_max": max(attempts, default=0),
    }


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(1)

"""Power cuts: what would be on the disks if everything stopped at one moment, and whether all promises hold on that.

Every process of the run is frozen at a random moment, the files are copied as they are, and all go on. The copy is what
a power cut leaves where the disk keeps what it was told to keep: everything written by then, nothing after, whoever was
in the middle of what. PostgreSQL recovers from it as after any crash. What a disk loses although it said that it had
kept it cannot be shown this way.
"""

import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import structlog
from sqlalchemy.orm import Session

from benchmarks.chaos import checker
from benchmarks.chaos.checker import Rows
from benchmarks.chaos.clients import N_PICTURES, ClientRecord
from benchmarks.chaos.cluster import (
    RUN_VARIABLE,
    START_TIMEOUT_S,
    Cluster,
    database_answers,
    database_url,
    free_ports,
)
from benchmarks.chaos.history import Answer
from benchmarks.chaos.insisting import Operation
from benchmarks.chaos.jobs import JobLog
from benchmarks.chaos.judged_jobs import StoredJobs, check_posts, read_jobs
from benchmarks.chaos.operated import StoredFeedback, lost_feedback, read_feedback
from benchmarks.chaos.operations import OperatorLog
from benchmarks.chaos.pictures import picture
from benchmarks.chaos.programs import STARTS, Program
from benchmarks.chaos.system import belonging_to, is_frozen, send
from benchmarks.chaos.windows import agree
from benchmarks.verdicts import Verdict
from registry.blobs.store import LocalBlobStore
from registry.postgres.database import make_engine, make_session_factory
from registry.postgres.programs import let_traverse

log = structlog.get_logger()

COPIED = ("pgdata", "blobs", "redis")
STILL_S = 5.0
"""A process in the middle of writing to a disk stands still a moment later."""
ASKED_VERSIONS = 2
"""Newest versions of each learner that are asked again on a copy."""


@dataclass(frozen=True)
class Cut:
    """One copy, and what had been acknowledged when it was made."""

    folder: Path
    at: float
    """Seconds since 1970."""
    records: list[ClientRecord]
    operations: list[Operation]
    """Granted by then."""
    jobs: list[Operation]
    """Prediction jobs posted by then, as far as was known of them."""


class PowerCuts:
    """Makes copies while a run goes on, and judges them after it."""

    def __init__(
        self,
        cluster: Cluster,
        record: ClientRecord,
        done: OperatorLog,
        jobs: JobLog,
        *,
        pace: float,
    ) -> None:
        self.cuts: list[Cut] = []
        self._cluster = cluster
        self._client_record = record
        self._done = done
        self._jobs = jobs
        self._pace = pace

    def cut(self) -> dict[str, Any] | None:
        """Freeze everything, copy, and let it go on. None if it does not stand still."""
        folder = self._cluster.folder / "cuts" / str(len(self.cuts) + 1)
        folder.mkdir(parents=True)
        records = [acknowledged(record) for record in (self._client_record, self._done.uploads)]
        granted = [one for one in self._done.operations if one.outcome == "ok"]
        jobs = [replace(one) for one in list(self._jobs.operations)]
        with STARTS:
            at = time.time()
            frozen = self._freeze()
            try:
                if frozen is None:
                    shutil.rmtree(folder)
                    return None
                self._copy(folder)
            finally:
                # Children first, as after any freeze.
                send(signal.SIGCONT, *sorted(frozen or (), reverse=True))
        self.cuts.append(Cut(folder, at, records, granted, jobs))
        return {"copied_s": round(time.time() - at, 2), "heal_after_s": 0.0}

    def judge(self, answers: Sequence[Answer]) -> list[Verdict]:
        """Start a database and a service on every copy, and hold them against what had been acknowledged."""
        verdicts: dict[str, Verdict] = {}
        for cut in self.cuts:
            for verdict in _Restarted(self._cluster, cut, self._pace).judge(answers):
                name = f"after a power cut: {verdict.name}"
                merged = verdicts.setdefault(name, Verdict(name, 0))
                merged.checked += verdict.checked
                merged.violations += [f"{cut.folder.name}: {text}" for text in verdict.violations]
        return list(verdicts.values())

    def _freeze(self) -> list[int] | None:
        """Stop all processes of the run that are not stopped already; return them once they stand still."""
        frozen: list[int] = []
        deadline = time.monotonic() + STILL_S * self._pace
        while time.monotonic() < deadline:
            own = belonging_to(RUN_VARIABLE, self._cluster.run_id, self._cluster.folder)
            running = [pid for pid in own if not is_frozen(pid)]
            if not running:
                return frozen
            frozen += [pid for pid in send(signal.SIGSTOP, *running) if pid not in frozen]
            time.sleep(0.01)
        send(signal.SIGCONT, *frozen)
        return None

    def _copy(self, folder: Path) -> None:
        source = self._cluster.folder
        for name in COPIED:
            # `cp` keeps owners, which PostgreSQL insists on, and shares blocks where the file system can.
            paths = (str(source / name), str(folder / name))
            subprocess.run(["cp", "-a", "--reflink=auto", *paths], check=True)


def acknowledged(record: ClientRecord) -> ClientRecord:
    """Return the uploads so far, those as unknown that nobody has answered yet."""
    uploads = []
    for upload in list(record.uploads):
        ids = set(upload.task_ids)
        uploads.append(replace(upload, outcome="ok" if ids else "unknown", task_ids=ids))
    return ClientRecord(uploads)


class _Restarted:
    """A database and a service on one copy."""

    def __init__(self, cluster: Cluster, cut: Cut, pace: float) -> None:
        name = f"cut{cut.folder.name}"
        self._cluster = cluster
        self._cut = cut
        self._pace = pace
        self._blobs = LocalBlobStore(cut.folder / "blobs")
        port, self._api_port, *_ = free_ports(None)
        self._url = database_url(port)
        self._postgres = cluster.make_postgres(
            f"{name}-postgres", cut.folder / "pgdata", port, lambda: database_answers(self._url)
        )
        self._api = cluster.make_api(
            f"{name}-api",
            self._api_port,
            DATABASE_URL=self._url,
            BLOB_URL=str(cut.folder / "blobs"),
            REDIS_URL="",
        )

    def judge(self, answers: Sequence[Answer]) -> list[Verdict]:
        """Start it, check everything, and stop it."""
        (self._cut.folder / "pgdata" / "postmaster.pid").unlink(missing_ok=True)
        let_traverse(self._cut.folder)
        starts = Verdict("the database and a service start", 2)
        started: list[Program] = []
        try:
            for program in (self._postgres, self._api):
                program.start()
                started.append(program)
                if not program.wait_ready(START_TIMEOUT_S):
                    starts.violations.append(f"{program.name}: see {program.log}")
                    return [starts]
            return [starts, *self._judge(answers)]
        finally:
            for program in reversed(started):
                program.stop()
            log.info("cut_judged", cut=self._cut.folder.name)

    def _judge(self, answers: Sequence[Answer]) -> list[Verdict]:
        engine = make_engine(self._url, application_name="chaos", statement_timeout_s=60)
        try:
            with make_session_factory(engine)() as session:
                rows, kept, kept_jobs = _read(session)
        finally:
            engine.dispose()
        return [
            *judge_rows(self._cut, rows, kept, kept_jobs, self._blobs),
            self._predict(rows, answers),
        ]

    def _predict(self, rows: Rows, answers: Sequence[Answer]) -> Verdict:
        """Ask the service on the copy what others were answered by the same versions before."""
        verdict = Verdict("versions answer as they did before", 0)
        before = {(a.learner, a.version, a.image): a for a in answers if a.is_ok}
        headers = {"Authorization": f"Bearer {self._cluster.key}", "Content-Type": "image/png"}
        url = f"http://127.0.0.1:{self._api_port}"
        with httpx.Client(base_url=url, headers=headers, timeout=30 * self._pace) as client:
            for learner in rows.learners:
                for version in rows.versions_of(learner.id)[-ASKED_VERSIONS:]:
                    for image in range(N_PICTURES):
                        earlier = before.get((learner.name, version.number, image))
                        if earlier is None:
                            continue
                        verdict.checked += 1
                        path = f"/v1/learners/{learner.name}/predictions?version={version.number}"
                        answer = client.post(path, content=picture(0, image, 0))
                        if not _agrees(answer, earlier):
                            verdict.violations.append(
                                f"{learner.name} {version.number} image {image}: {answer.status_code}"
                            )
        return verdict


def _read(session: Session) -> tuple[Rows, StoredFeedback, StoredJobs]:
    return checker.read_rows(session), read_feedback(session), read_jobs(session)


def _agrees(answer: httpx.Response, earlier: Answer) -> bool:
    if answer.status_code != httpx.codes.OK:
        return False
    first = answer.json()["results"][0]
    return first["label"] == earlier.label and agree(first["score"], earlier.score)


def judge_rows(
    cut: Cut, rows: Rows, kept: StoredFeedback, kept_jobs: StoredJobs, blobs: LocalBlobStore
) -> list[Verdict]:
    """Hold the rows and files of a copy against what had been acknowledged when it was made."""
    own, operated = cut.records
    taught = {upload.learner for upload in own.uploads}
    worked = {upload.learner for upload in operated.uploads}
    verdicts = [
        *checker.check_uploads(rows.named(*taught), own, blobs),
        *checker.check_uploads(rows.named(*worked), operated, blobs),
        checker.check_artifacts(rows, blobs),
        # Not whether there are others: one may have been posted just before all stood still.
        *check_posts(cut.jobs, kept_jobs, rows, blobs)[:2],
    ]
    done = Verdict("acknowledged operations are there", len(cut.operations))
    done.violations += lost_feedback(cut.operations, rows, kept)
    ids, names = {task.id for task in rows.tasks}, {learner.name for learner in rows.learners}
    for one in cut.operations:
        if one.kind == "unlearn" and one.answer["id"] not in ids:
            done.violations.append(f"{one.key}: its task is gone")
        if one.kind == "import" and one.what["name"] not in names:
            done.violations.append(f"{one.key}: its learner is gone")
    return [*verdicts, done]

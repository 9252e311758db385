"""How long the service takes for each page of the dashboard with a large learner: `python -m benchmarks.pages`.

Writes rows as workers and services would: a learner of 100 tasks with 1,000 classes, each task measured with every
later version, and 50,000 stored predictions with their reviews; nothing is learned. Then it asks for every page a few
times, in one process and without a network, and prints the first and the median time. `--keep` serves the pages until
Ctrl-C instead.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import insert
from sqlalchemy.orm import Session, sessionmaker

from registry import keys, learners
from registry.blobs.store import LocalBlobStore
from registry.ids import new_id
from registry.postgres.database import make_engine, make_session_factory, migrate
from registry.postgres.embedded import EmbeddedPostgres
from registry.statuses import TaskStatus
from registry.tables import (
    AccuracyRow,
    AliasRow,
    LearnerRow,
    PredictionImageRow,
    PredictionRow,
    ReviewRow,
    TaskRow,
    VersionRow,
)
from service.app import create_app
from service.settings import ServiceSettings

NAME = "herbarium"
EVAL = 20
"""Images of each class that are held out."""
DAYS = 30
"""Over which the stored predictions are spread."""
PAGES = (
    "/admin",
    "/admin?again",
    "/v1/health",
    "/admin/learners/{name}",
    "/admin/learners/{name}/classes",
    "/admin/learners/{name}/classes/{label}",
    "/admin/learners/{name}/versions/{version}",
    "/admin/learners/{name}/review",
    "/admin/learners/{name}/jobs",
    "/admin/learners/{name}/try",
    "/admin/learners/{name}/teach",
    "/admin/tasks",
    "/admin/keys",
    "/admin/audit",
)


def label_of(index: int) -> str:
    """Return the name of a class."""
    return f"species {index:04d}"


def fill(session: Session, n_tasks: int, n_classes: int, n_predictions: int) -> None:
    """Write a learner with its tasks, versions and accuracies, and its stored predictions."""
    draw = random.Random(7)
    learner = learners.create_learner(
        session,
        NAME,
        strategy="simplecil",
        backbone="tiny",
        config={},
        metadata={},
        halved_to=288,
    )
    each = n_classes // n_tasks
    began = datetime.now(UTC) - timedelta(days=DAYS)
    labels = [label_of(index) for index in range(n_classes)]
    fade = [draw.choice((0.0002, 0.0005, 0.001, 0.003)) for _ in range(n_tasks)]
    tasks, numbered, accuracies = [], [], []
    for i in range(n_tasks):
        own, known = labels[i * each : (i + 1) * each], labels[: (i + 1) * each]
        task_id, at = new_id("tsk"), began + timedelta(hours=6 * i)
        tasks.append(
            {
                "id": task_id,
                "learner_id": learner.id,
                "index": i + 1,
                "config": {},
                "classes": own,
                "n_train": 30 * each,
                "n_eval": EVAL * each,
                "status": TaskStatus.SUCCEEDED,
                "progress": {"phase": "published", "fraction": 1.0},
                "attempt": 1,
                "version": i + 1,
                "created_at": at,
                "started_at": at + timedelta(seconds=2),
                "finished_at": at + timedelta(seconds=40),
            }
        )
        right = [0.95 - fade[j] * (i - j) for j in range(i + 1)]
        confusion = {
            str(j + 1): {
                label: _answers(draw, label, known, right[j])
                for label in labels[j * each : (j + 1) * each]
            }
            for j in range(i + 1)
        }
        numbered.append(
            {
                "id": new_id("ver"),
                "learner_id": learner.id,
                "number": i + 1,
                "parent": i,
                "task_id": task_id,
                "task_index": i + 1,
                "config": {},
                "seed": 0,
                "backbone_fingerprint": "tiny",
                "manifest_sha256": "0" * 64,
                "size_bytes": 10_000 * (i + 1),
                "tasks": list(range(1, i + 2)),
                "classes": known,
                "metrics": {"seconds": {"learn": 38.0}, "confusion": confusion},
                "code_versions": {},
                "created_at": at + timedelta(seconds=40),
            }
        )
        accuracies += [
            {
                "learner_id": learner.id,
                "version": i + 1,
                "task_index": j + 1,
                "n": EVAL * each,
                "n_correct": sum(row.get(label, 0) for label, row in confusion[str(j + 1)].items()),
                "n_routed": 0,
                "n_routed_right": 0,
                "passes": 1.0,
            }
            for j in range(i + 1)
        ]
    session.execute(insert(TaskRow), tasks)
    session.execute(insert(VersionRow), numbered)
    session.execute(insert(AccuracyRow), accuracies)
    session.add(AliasRow(learner_id=learner.id, name=learners.LIVE, version=n_tasks))
    learner.head_version = n_tasks
    session.flush()
    _predict(session, draw, learner, labels, n_predictions, began, n_tasks)


def _answers(draw: random.Random, label: str, known: list[str], right: float) -> dict[str, int]:
    n = sum(draw.random() < right for _ in range(EVAL))
    return {label: n} | ({draw.choice(known): EVAL - n} if n < EVAL else {})


def _predict(
    session: Session,
    draw: random.Random,
    learner: LearnerRow,
    labels: list[str],
    n: int,
    began: datetime,
    version: int,
) -> None:
    for start in range(0, n, 5000):
        predictions, images, reviews = [], [], []
        for i in range(start, min(n, start + 5000)):
            label, score, novelty = draw.choice(labels), draw.betavariate(5, 2), draw.random()
            at = began + timedelta(days=DAYS) * (i / n)
            top = [{"label": label, "score": score}]
            known = novelty < 0.95
            answer = {
                "label": label,
                "score": score,
                "novelty": novelty,
                "known": known,
                "top": top,
            }
            key = new_id("prd")
            predictions.append(
                {
                    "id": key,
                    "learner_id": learner.id,
                    "version": version,
                    "results": [answer],
                    "labels": [label],
                    "has_unknown": not known,
                    "created_at": at,
                }
            )
            images.append(
                {
                    "prediction_id": key,
                    "index": 0,
                    "blob_sha256": "0" * 64,
                    "width": 64,
                    "height": 64,
                }
            )
            reviews.append(
                {
                    "prediction_id": key,
                    "index": 0,
                    "learner_id": learner.id,
                    "version": version,
                    "top": top,
                    "label": label,
                    "score": score,
                    "novelty": novelty,
                    "is_known": known,
                    "usefulness": 1 - score,
                    "answered_at": at,
                }
            )
        session.execute(insert(PredictionRow), predictions)
        session.execute(insert(PredictionImageRow), images)
        session.execute(insert(ReviewRow), reviews)


@contextmanager
def large(
    n_tasks: int, n_classes: int, n_predictions: int
) -> Iterator[tuple[FastAPI, sessionmaker[Session], str]]:
    """Fill a database of its own; yields the app on it, sessions, and a key of an admin."""
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-pages-") as name,
        EmbeddedPostgres(Path(name) / "database") as server,
    ):
        folder = Path(name)
        migrate(server.url)
        engine = make_engine(server.url, application_name="pages", statement_timeout_s=120)
        factory = make_session_factory(engine)
        with factory.begin() as session:
            _, secret = keys.create_key(session, "pages", "admin")
            fill(session, n_tasks, n_classes, n_predictions)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")
        settings = ServiceSettings(data_dir=folder, device="cpu")
        yield create_app(settings, factory, LocalBlobStore(folder / "blobs")), factory, secret
        engine.dispose()


def measure(
    app: FastAPI, secret: str, repeats: int, **names: object
) -> list[tuple[str, float, float]]:
    """Return each page with its first and its median time in milliseconds."""
    rows = []
    with TestClient(app, follow_redirects=False) as client:
        headers = {"Sec-Fetch-Site": "same-origin"}
        client.post("/admin/login", data={"key": secret}, headers=headers)
        client.headers["Accept"] = "text/html, application/json;q=0.9"
        for page in PAGES:
            took = []
            for _ in range(repeats):
                start = time.perf_counter()
                answer = client.get(
                    page.format(**names),
                    headers={"Authorization": f"Bearer {secret}"} if page.startswith("/v1") else {},
                )
                took.append(1000 * (time.perf_counter() - start))
                assert answer.status_code == 200, (page, answer.status_code)
            rows.append((page, took[0], statistics.median(took)))
    return rows


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--predictions", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--keep", type=int, metavar="PORT", help="serve the pages, and measure nothing"
    )
    chosen = parser.parse_args()
    with large(chosen.tasks, chosen.classes, chosen.predictions) as (app, _, secret):
        if chosen.keep:
            sys.stdout.write(f"http://127.0.0.1:{chosen.keep}/admin, key {secret}\n")
            sys.stdout.flush()
            uvicorn.run(app, port=chosen.keep, log_level="warning")
            return
        names = {"name": NAME, "label": label_of(0), "version": chosen.tasks}
        sys.stdout.write(f"{'page':46}{'first ms':>10}{'median ms':>11}\n")
        for page, first, median in measure(app, secret, chosen.repeats, **names):
            sys.stdout.write(f"{page:46}{first:10.0f}{median:11.0f}\n")


if __name__ == "__main__":
    main()

"""Kills learn processes at random moments, lets another attempt go on, and compares what comes out, bit for bit.

    python -m benchmarks.resume --kills 20 --seed 0

A task is learned once undisturbed. Then, once a kill, a new learner gets the same task; its learn process is killed
with SIGKILL once a share of its training is done that is drawn uniformly, however long that takes, and a second
process takes over. Work lost is the time from the last checkpoint, or else from the first step, to the kill.
"""

import argparse
import io
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import SecretStr
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.files import write_rows
from benchmarks.waiting import wait_until
from models.strategies.catalog import resolve
from registry import learners, queue, samples, tasks, versions
from registry.blobs.store import LocalBlobStore
from registry.postgres.database import make_engine, make_session_factory, migrate
from registry.postgres.embedded import EmbeddedPostgres
from registry.samples import NewSample
from registry.statuses import TaskStatus
from registry.tables import TASK_PHASES, TaskRow
from service.intake.forms import HALVED_SIDE
from worker.settings import WorkerSettings

POLL_S = 0.01
AFTER_TRAINING = TASK_PHASES[TASK_PHASES.index("training") + 1 :]
LEASE_S = 100_000.0
"""Nobody takes over but us, however slow the machine."""


@dataclass(frozen=True)
class Protocol:
    """What decides a run, apart from its seed."""

    strategy: str = "finetune"
    backbone: str = "tiny"
    config: dict[str, Any] = field(default_factory=lambda: {"epochs": 400})
    checkpoint_s: float = 1.0
    n_classes: int = 3
    n_images: int = 16
    """Of each class."""


@dataclass(frozen=True)
class Kill:
    """What one kill did."""

    after_s: float
    """From the first step of training."""
    lost_s: float
    had_checkpoint: bool
    is_equal: bool
    """Whether the second attempt published the very artifact of the undisturbed one."""


class Bench:
    """A database, a blob store, and learn processes on them."""

    def __init__(
        self, protocol: Protocol, session_factory: sessionmaker[Session], settings: WorkerSettings
    ) -> None:
        self.protocol = protocol
        self.blobs = LocalBlobStore(Path(settings.blob_location))
        self._session_factory = session_factory
        self._settings = settings
        self._images = self._draw_images()

    def undisturbed(self) -> str:
        """Learn the task and return its artifact."""
        task_id = self._add_task("undisturbed")
        with self._learning(task_id) as process:
            process.wait()
        return self._artifact(task_id)

    def kill(self, name: str, share: float, expected: str) -> Kill | None:
        """Kill an attempt so far into its training and let another go on; None if it had ended before."""
        task_id = self._add_task(name)
        with self._learning(task_id) as process:
            self._wait_for_training(task_id, process, 0.0)
            first_step = began = time.time()
            self._wait_for_training(task_id, process, share)
            process.kill()
            killed = time.time()
        task = self._task(task_id)
        if task.status != TaskStatus.RUNNING:
            return None
        if task.checkpoint is not None:
            began = (
                self.blobs.root.joinpath("sha256", task.checkpoint[:2], task.checkpoint[2:])
                .stat()
                .st_mtime
            )
        with self._session_factory.begin() as session:
            queue.requeue_task(session, task_id, task.token, "worker-lost", "Killed.", 0.0)
        with self._learning(task_id) as process:
            process.wait()
        return Kill(
            after_s=round(killed - first_step, 3),
            lost_s=round(max(0.0, killed - began), 3),
            had_checkpoint=task.checkpoint is not None,
            is_equal=self._artifact(task_id) == expected,
        )

    def _draw_images(self) -> list[tuple[str, bytes]]:
        generator, drawn = np.random.default_rng(0), []
        for k in range(self.protocol.n_classes):
            colour = generator.integers(40, 216, 3)
            for _ in range(self.protocol.n_images):
                pixels = (colour + generator.normal(0, 20, (32, 32, 3))).clip(0, 255)
                buffer = io.BytesIO()
                Image.fromarray(pixels.astype(np.uint8)).save(buffer, format="PNG")
                drawn.append((f"class {k}", buffer.getvalue()))
        return drawn

    def _add_task(self, name: str) -> str:
        protocol = self.protocol
        strategy, own = resolve(protocol.strategy, protocol.config)
        config = asdict(strategy.config_type(**own))
        hashes = self.blobs.put_many(data for _, data in self._images)
        rows = [
            NewSample(label, "train", sha256, None, 32, 32)
            for (label, _), sha256 in zip(self._images, hashes, strict=True)
        ]
        with self._session_factory.begin() as session:
            learners.create_learner(
                session,
                name,
                strategy=strategy.name,
                backbone=protocol.backbone,
                config=config,
                halved_to=HALVED_SIDE,
            )
            task = tasks.add_task(
                session,
                name,
                name=None,
                mode="new_classes",
                options={},
                config=config,
                seed=0,
                classes=sorted({label for label, _ in self._images}),
                n_train=len(rows),
                n_eval=0,
            )
            samples.add_samples(session, task.id, rows, self.blobs)
            return task.id

    @contextmanager
    def _learning(self, task_id: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run an attempt, which ends with the block at the latest, however that ends."""
        with self._session_factory.begin() as session:
            claimed = queue.claim(session, task_id, "bench", LEASE_S)
        assert claimed is not None
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.learn", task_id, str(claimed.token)],
            env=self._settings.environment(),
            stdout=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _wait_for_training(
        self, task_id: str, process: subprocess.Popen[bytes], share: float
    ) -> None:
        """Wait until so large a share of the training is done, or all of it, or the process has ended."""
        wait_until(
            lambda: self._has_trained(task_id, share) or process.poll() is not None,
            math.inf,
            look_s=POLL_S,
        )

    def _has_trained(self, task_id: str, share: float) -> bool:
        progress = self._task(task_id).progress
        if progress["phase"] != "training":
            return progress["phase"] in AFTER_TRAINING
        if not progress["epochs"]:
            return share == 0
        return bool(progress["epoch"] >= share * progress["epochs"])

    def _task(self, task_id: str) -> TaskRow:
        with self._session_factory() as session:
            return tasks.get_task(session, task_id)

    def _artifact(self, task_id: str) -> str:
        """Return the address of what a task published: the hash of a manifest that names all files by theirs."""
        task = self._task(task_id)
        if task.version is None:
            raise RuntimeError(f"The task is {task.status}: {task.error}.")
        with self._session_factory() as session:
            version = versions.get_version(session, task.learner_id, task.version)
            return versions.address_of(version)


def measure(protocol: Protocol, n_kills: int, seed: int) -> list[Kill]:
    """Kill that many attempts. Takes about as long as learning the task three times for each."""
    moments = random.Random(seed)
    kills: list[Kill] = []
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-resume-") as folder,
        EmbeddedPostgres(Path(folder)) as server,
        ExitStack() as stack,
    ):
        migrate(server.url)
        settings = WorkerSettings(
            data_dir=Path(folder),
            database_url=SecretStr(server.url),
            device="cpu",
            checkpoint_s=protocol.checkpoint_s,
            torch_threads=1,
            progress_s=0.1,
        )
        engine = make_engine(server.url, application_name="filopodia-resume")
        stack.callback(engine.dispose)
        bench = Bench(protocol, make_session_factory(engine), settings)
        expected = bench.undisturbed()
        n_tries = 0
        while len(kills) < n_kills:
            n_tries += 1
            kill = bench.kill(f"try-{n_tries}", moments.random(), expected)
            if kill is not None:
                kills.append(kill)
                sys.stdout.write(f"{json.dumps(asdict(kill))}\n")
                sys.stdout.flush()
    return kills


def main() -> None:
    """Print a line a kill and the sums; write them to a file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resume")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strategy", default=Protocol.strategy)
    parser.add_argument("--backbone", default=Protocol.backbone)
    parser.add_argument("--config", type=json.loads, default={"epochs": 400}, help="JSON")
    parser.add_argument("--checkpoint-s", type=float, default=Protocol.checkpoint_s)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    protocol = Protocol(
        strategy=arguments.strategy,
        backbone=arguments.backbone,
        config=arguments.config,
        checkpoint_s=arguments.checkpoint_s,
    )
    kills = measure(protocol, arguments.kills, arguments.seed)
    lost = [kill.lost_s for kill in kills]
    summary = {
        "n_kills": len(kills),
        "n_equal": sum(kill.is_equal for kill in kills),
        "n_with_checkpoint": sum(kill.had_checkpoint for kill in kills),
        "lost_s_median": round(statistics.median(lost), 3),
        "lost_s_max": max(lost),
    }
    sys.stdout.write(f"{json.dumps(summary)}\n")
    if arguments.out is not None:
        head = {
            "command": "python -m benchmarks.resume",
            "protocol": asdict(protocol),
            "seed": arguments.seed,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "summary": summary,
        }
        write_rows(arguments.out, head, [asdict(kill) for kill in kills])


if __name__ == "__main__":
    main()

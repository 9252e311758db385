"""How soon a service answers after it was started, what a command costs, and what memory it takes.

    python -m benchmarks.starting --times 5 --out benchmarks/results/starting.json

Starts the service again and again, in turn on an empty data directory and on one with a learner that knows two classes,
and counts from the start of the process until `/readyz` answers 200; after 200 predictions its memory is read. Then
commands that need no PyTorch ask a service without a worker, whose processes would still be starting. `--beside FOLDER`
does the same with another checkout of the code, in turn with this one. Files are warm: one round before is not counted.
Linux alone tells what is read here.
"""

import argparse
import io
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from rich.console import Console

from benchmarks.files import write_rows
from benchmarks.waiting import wait_until

HERE = Path(__file__).parent.parent
ENTRY = "from service.cli.entry import main; main()"
LEARNER, CLASSES, SHOTS = "birds", ("heron", "egret"), 8
N_PREDICTIONS = 200
LOOK_S = 0.005
COMMANDS = (("--help",), ("learners",), ("predict", LEARNER, "photo.png"))
KINDS = {"Rss": "rss_mib", "Pss": "pss_mib", "Private_Dirty": "private_mib"}
"""Resident memory; that with what is shared counted in parts; and what no other process can share."""


def picture(index: int, shot: int) -> bytes:
    """Return a made-up image of a class, as PNG."""
    colour = np.random.default_rng(index).integers(0, 200, 3)
    noise = np.random.default_rng([index, shot]).normal(0, 20, (96, 96, 3))
    file = io.BytesIO()
    Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


class Started:
    """A service that was started and is ready."""

    def __init__(self, code: Path, folder: Path, **settings: str) -> None:
        """Start it and wait until it is ready.

        Args:
            code: Where its packages lie.
            folder: Its data directory.
            settings: Further ones.
        """
        self.environment = _environment(code, folder) | settings
        described = folder / "service.json"
        described.unlink(missing_ok=True)
        self._log = folder / "log"
        began = time.monotonic()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", ENTRY, "serve"],
                env=self.environment,
                stderr=log,
                cwd=folder,
            )
        wait_until(lambda: described.exists() or self._is_gone(), look_s=LOOK_S)
        url = json.loads(described.read_text())["url"]
        key = (folder / "admin.key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        self.client = httpx.Client(base_url=url, headers=headers, timeout=60)
        wait_until(self._is_ready, look_s=LOOK_S)
        self.seconds = time.monotonic() - began
        self.cpu_s = _cpu_s(self.process.pid)

    def row(self) -> dict[str, Any]:
        """Return how long that took, and what of it, as far as the log tells."""
        events = [json.loads(line) for line in self._log.read_text().splitlines()]
        loading = [event["seconds"] for event in events if event["event"] == "version_served"]
        waited = next(event.get("waited_s", {}) for event in events if event["event"] == "serving")
        steps = waited | ({"Loading the learner": loading[0]} if loading else {})
        return {
            "seconds": round(self.seconds, 2),
            "cpu_s": round(self.cpu_s, 2),
            "steps": {name: round(seconds, 2) for name, seconds in steps.items()},
        }

    def teach(self) -> None:
        """Let a learner learn two classes."""
        self.client.post("/v1/learners", json={"name": LEARNER}).raise_for_status()
        files = [
            ("images", (f"{label}/{shot}.png", picture(index, shot)))
            for index, label in enumerate(CLASSES)
            for shot in range(SHOTS)
        ]
        answer = self.client.post(f"/v1/learners/{LEARNER}/tasks", files=files)
        answer.raise_for_status()
        path = f"/v1/tasks/{answer.json()['id']}?wait=30"
        wait_until(lambda: self.client.get(path).json()["finished_at"])
        self.predict(1)

    def predict(self, n: int) -> None:
        """Have images answered, one after another."""
        for shot in range(n):
            answer = self.client.post(
                f"/v1/learners/{LEARNER}/predictions",
                content=picture(0, shot),
                headers={"Content-Type": "image/png"},
            )
            answer.raise_for_status()

    def memory(self) -> dict[str, int]:
        """Return its memory in MiB, each kind."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return {ours: sizes[name] // 1024 for name, ours in KINDS.items()}

    def command(self, code: Path, arguments: Sequence[str], folder: Path) -> dict[str, Any]:
        """Run a command of some code beside it, and return what that took."""
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-c", ENTRY, *arguments],
            env=self.environment | {"PYTHONPATH": str(code.resolve())},
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(f"filopodia {' '.join(arguments)} ended with {process.returncode}.")
        return {
            "command": " ".join(arguments[:1]),
            "seconds": round(time.monotonic() - began, 3),
            "cpu_s": round(used.ru_utime + used.ru_stime, 3),
        }

    def stop(self) -> None:
        """Stop it."""
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        self.process.wait()

    def _is_gone(self) -> bool:
        if self.process.poll() is None:
            return False
        raise RuntimeError(self._log.read_text())

    def _is_ready(self) -> bool:
        with suppress(httpx.HTTPError):
            return self.client.get("/readyz").status_code == httpx.codes.OK
        return False


@contextmanager
def started(code: Path, folder: Path, **settings: str) -> Iterator[Started]:
    """Start a service, and stop it at the end of the block."""
    service = Started(code, folder, **settings)
    try:
        yield service
    finally:
        service.stop()


def measure(trees: dict[str, Path], times: int, folder: Path) -> list[dict[str, Any]]:
    """Start each tree's service `times` times, in turn, and return a row for all that was measured."""
    taught = folder / "taught"
    taught.mkdir()
    (taught / "photo.png").write_bytes(picture(1, SHOTS))
    with started(HERE, taught) as service:
        service.teach()
    rows: list[dict[str, Any]] = []
    for turn in range(times + 1):
        # What comes first in a round is not always the same.
        for name, code in sorted(trees.items(), reverse=turn % 2 == 1):
            empty = folder / f"empty-{turn}-{name}"
            empty.mkdir()
            with started(code, empty) as service:
                rows.append({"turn": turn, "tree": name, "on": "empty", **service.row()})
            with started(code, taught) as service:
                rows.append({"turn": turn, "tree": name, "on": "one learner", **service.row()})
                if turn == times:
                    service.predict(N_PREDICTIONS)
                    rows.append({"turn": turn, "tree": name, "memory": service.memory()})
    with started(HERE, taught, FILOPODIA_EMBEDDED_WORKER="false") as service:
        for turn in range(times + 1):
            for arguments in COMMANDS:
                rows += [
                    {"turn": turn, "tree": name, **service.command(code, arguments, taught)}
                    for name, code in trees.items()
                ]
    return [row for row in rows if row["turn"] > 0]


def main() -> None:
    """Print the rows; write them to a file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starting")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--beside", type=Path, help="another checkout, measured in turn with this")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    trees = {"this": HERE} | ({"beside": arguments.beside} if arguments.beside else {})
    with tempfile.TemporaryDirectory(prefix="filopodia-starting-") as name:
        rows = measure(trees, arguments.times, Path(name))
    console = Console()
    for row in rows:
        console.print_json(json.dumps(row), indent=None)
    if arguments.out is not None:
        head = {
            "command": "python -m benchmarks.starting",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "times": arguments.times,
        }
        write_rows(arguments.out, head, rows)


def _environment(code: Path, folder: Path) -> dict[str, str]:
    """Return what a service is told: nothing that others have set, and nothing to do beside the start."""
    others = ("DATABASE_URL", "REDIS_URL", "BLOB_URL")
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith("FILOPODIA_") and name not in others
    }
    return kept | {
        "PYTHONPATH": str(code.resolve()),
        "FILOPODIA_DATA_DIR": str(folder),
        "FILOPODIA_PORT": "0",
        "FILOPODIA_MIN_FREE_BYTES": "0",
        "FILOPODIA_CONSOLIDATE": "by_hand",
    }


def _cpu_s(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()

"""What bad input does to everybody else: `python -m benchmarks.bad_input --out benchmarks/results/bad_input.json`.

A real service; one client asks for predictions all the time, at a fixed rate, each request timed from the moment it was
due. Quiet periods and periods under attack take turns, because the machine is never quiet itself: a ratio is the median
over the attacked periods by the median over the quiet ones next to them. Memory is the peak of each period. Then fifty
posts at once with one Idempotency-Key, and the served version is moved back and forth under load.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bad_input.attacks import ATTACKS
from benchmarks.bad_input.service import LEARNER, Service, picture
from benchmarks.files import write_rows

PER_S = 20
MOST_SLOWER, MOST_MIB = 1.5, 300
"""The targets: p99 and memory, next to quiet."""
N_POSTS = 50
MOVES = 10


@dataclass(frozen=True)
class Period:
    """What the client saw in one period."""

    p50_ms: float
    p99_ms: float
    n: int
    n_failed: int
    peak_mib: float


class Predictor:
    """Asks for a prediction every 50 ms, on a few connections, whatever became of the last one."""

    def __init__(self, service: Service) -> None:
        headers = {"Authorization": f"Bearer {service.key}", "Content-Type": "image/png"}
        self._client = httpx.Client(base_url=service.url, headers=headers, timeout=30)
        self._pool = ThreadPoolExecutor(8)
        self._image = picture("heron", 99)
        self.answers: list[tuple[float, float, int, int]] = []
        """When it was due, how long it took, status, version."""

    def run(self, seconds: float) -> list[tuple[float, float, int, int]]:
        """Ask for some seconds and return all answers of that time."""
        self.answers = []
        started = time.perf_counter()
        due = [started + i / PER_S for i in range(int(seconds * PER_S))]
        waiting = []
        for moment in due:
            time.sleep(max(0.0, moment - time.perf_counter()))
            waiting.append(self._pool.submit(self._ask, moment))
        for future in waiting:
            future.result()
        return self.answers

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()
        self._client.close()

    def _ask(self, due: float) -> None:
        status, version = 0, 0
        with suppress(httpx.HTTPError):
            path = f"/v1/learners/{LEARNER}/predictions?store=false"
            answer = self._client.post(path, content=self._image)
            status = answer.status_code
            version = answer.json().get("version", 0)
        self.answers.append((due, time.perf_counter() - due, status, version))


def measure(service: Service, predictor: Predictor, seconds: float) -> Period:
    """Measure one period."""
    service.forget_peak()
    answers = predictor.run(seconds)
    times = sorted(1000 * took for _, took, _, _ in answers)
    return Period(
        p50_ms=round(statistics.median(times), 2),
        p99_ms=round(times[min(len(times) - 1, int(0.99 * len(times)))], 2),
        n=len(times),
        n_failed=sum(status != httpx.codes.OK for _, _, status, _ in answers),
        peak_mib=round(service.peak_mib(), 1),
    )


def attacked(
    service: Service, predictor: Predictor, name: str, *, rounds: int, seconds: float
) -> dict[str, Any]:
    """Compare quiet periods with periods under one attack."""
    quiet, loud, answers = [], [], Counter[str]()
    for _ in range(rounds):
        quiet.append(measure(service, predictor, seconds))
        process = _start(service, name)
        time.sleep(1.0)
        loud.append(measure(service, predictor, seconds))
        process.terminate()
        answers.update(json.loads(process.communicate(timeout=60)[0].splitlines()[-1]))
        time.sleep(1.0)
    return {
        "attack": name,
        "what": ATTACKS[name].what,
        "p50_ratio": _ratio([p.p50_ms for p in loud], [p.p50_ms for p in quiet]),
        "p99_ratio": _ratio([p.p99_ms for p in loud], [p.p99_ms for p in quiet]),
        "quiet_p99_ms": statistics.median(p.p99_ms for p in quiet),
        "attacked_p99_ms": statistics.median(p.p99_ms for p in loud),
        "extra_mib": round(max(p.peak_mib for p in loud) - quiet[0].peak_mib, 1),
        "n": sum(p.n for p in loud),
        "n_failed": sum(p.n_failed for p in loud),
        "answers": dict(sorted(answers.items())),
        "quiet": [asdict(p) for p in quiet],
        "attacked": [asdict(p) for p in loud],
    }


def _start(service: Service, name: str) -> subprocess.Popen[str]:
    """Start an attack's process, and let it begin once it has made its ammunition."""
    host, port = service.address
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "benchmarks.bad_input.attacks",
            name,
            host,
            port,
            service.attacker_key,
            LEARNER,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.readline()
    process.stdin.write("go\n")
    process.stdin.flush()
    return process


def _ratio(loud: list[float], quiet: list[float]) -> float:
    return round(statistics.median(loud) / statistics.median(quiet), 3)


def parallel_posts(service: Service) -> dict[str, Any]:
    """Post one task fifty times at once under one key, and count what came of it."""
    headers = {"Idempotency-Key": f"fifty-{time.time_ns()}"}
    files = [("images", (f"crane/{i}.png", picture("crane", i))) for i in range(4)]
    path = f"/v1/learners/{LEARNER}/tasks"
    gate = threading.Barrier(N_POSTS)

    def post(_: int) -> httpx.Response:
        gate.wait()
        return service.client.post(path, files=files, headers=headers)

    before = _task_ids(service)
    with ThreadPoolExecutor(N_POSTS) as pool:
        answers = list(pool.map(post, range(N_POSTS)))
    new_tasks = _task_ids(service) - before
    service.client.post(f"/v1/tasks/{next(iter(new_tasks))}/cancel")
    return {
        "posts": N_POSTS,
        "tasks": len(new_tasks),
        "answers": dict(sorted(Counter(str(a.status_code) for a in answers).items())),
        "ids_named": len(
            {a.json()["id"] for a in answers if a.status_code == httpx.codes.ACCEPTED}
        ),
    }


def _task_ids(service: Service) -> set[str]:
    tasks = service.client.get(f"/v1/learners/{LEARNER}/tasks?limit=200").json()["items"]
    return {task["id"] for task in tasks}


def moves(service: Service, predictor: Predictor, versions: tuple[int, int]) -> dict[str, Any]:
    """Roll back and forth under load; measure until no answer comes from the version before any more."""
    moved: list[tuple[float, int]] = []

    def move() -> None:
        for i in range(MOVES):
            time.sleep(2.5)
            version = versions[i % 2]
            path = f"/v1/learners/{LEARNER}/aliases/live"
            service.client.put(path, json={"version": version}).raise_for_status()
            moved.append((time.perf_counter(), version))

    thread = threading.Thread(target=move)
    thread.start()
    answers = predictor.run(2.5 * (MOVES + 1))
    thread.join()
    seconds = []
    for i, (at, version) in enumerate(moved):
        until = moved[i + 1][0] if i + 1 < len(moved) else float("inf")
        old = [due for due, _, _, v in answers if at < due < until and v != version]
        seconds.append(max(old, default=at) - at)
    return {
        "moves": len(moved),
        "longest_s": round(max(seconds), 2),
        "predictions": len(answers),
        "failed": sum(status != httpx.codes.OK for _, _, status, _ in answers),
    }


def main() -> None:
    """Print a line an attack; write a file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bad_input", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a period")
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-bad-") as name,
        Service(Path(name), backbone=arguments.backbone) as service,
    ):
        first, second = service.teach("heron", "egret"), service.teach("ibis")
        predictor = Predictor(service)
        predictor.run(3.0)
        before = set((Path(name) / "tmp").iterdir())
        for attack in arguments.attacks:
            row = attacked(
                service, predictor, attack, rounds=arguments.rounds, seconds=arguments.seconds
            )
            rows.append(row)
            shown = {k: v for k, v in row.items() if k not in ("quiet", "attacked", "what")}
            sys.stdout.write(json.dumps(shown) + "\n")
            sys.stdout.flush()
        posts = parallel_posts(service)
        rollback = moves(service, predictor, (first, second))
        predictor.close()
        leftover = len(set((Path(name) / "tmp").iterdir()) - before)
        log = (Path(name) / "log").read_text()
    summary = {
        "p99_ratio": max(row["p99_ratio"] for row in rows),
        "extra_mib": max(row["extra_mib"] for row in rows),
        "n_failed": sum(row["n_failed"] for row in rows),
        "temporary_files_left": leftover,
        "tracebacks_logged": log.count("Traceback"),
        "targets": {"p99_ratio": MOST_SLOWER, "extra_mib": MOST_MIB},
    }
    sys.stdout.write(json.dumps({"summary": summary, "posts": posts, "moves": rollback}) + "\n")
    if arguments.out is not None:
        head = {
            "command": "python -m benchmarks.bad_input",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, all clients on them",
            "backbone": arguments.backbone,
            "predictions_per_s": PER_S,
            "rounds": arguments.rounds,
            "seconds": arguments.seconds,
            "summary": summary,
            "posts": posts,
            "moves": rollback,
        }
        write_rows(arguments.out, head, rows)


if __name__ == "__main__":
    main()

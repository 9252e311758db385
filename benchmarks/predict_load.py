"""How fast a running service answers predictions: clients that post one image after another, over HTTP.

    python -m benchmarks.predict_load LEARNER IMAGE... --url http://127.0.0.1:8000 --key-file filopodia-data/admin.key

A closed loop: each client waits for its answer, so the numbers are the latency a caller sees at that concurrency, not
the breaking point of the service.
"""

import argparse
import os
import platform
import sys
import threading
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import httpx


@dataclass(frozen=True)
class Load:
    """What some clients saw."""

    n_clients: int
    images_per_s: float
    p50_ms: float
    p99_ms: float
    n_answers: int
    n_failed: int


def measure(
    url: str, key: str, learner: str, images: list[bytes], *, n_clients: int, seconds: float
) -> Load:
    """Post images from `n_clients` threads for some seconds, the same images to all."""
    latencies: list[float] = []
    failures: list[int] = []
    deadline = time.perf_counter() + seconds

    def run() -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "image/png"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            for image in cycle(images):
                started = time.perf_counter()
                if started > deadline:
                    return
                answer = client.post(f"/v1/learners/{learner}/predictions", content=image)
                latencies.append(time.perf_counter() - started)
                if answer.status_code != httpx.codes.OK:
                    failures.append(answer.status_code)

    started = time.perf_counter()
    threads = [threading.Thread(target=run) for _ in range(n_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - started
    ordered = sorted(latencies)
    return Load(
        n_clients=n_clients,
        images_per_s=len(ordered) / wall,
        p50_ms=1000 * ordered[len(ordered) // 2],
        p99_ms=1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
        n_answers=len(ordered),
        n_failed=len(failures),
    )


def main() -> None:
    """Print a line for one client and one for eight."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predict_load")
    parser.add_argument("learner")
    parser.add_argument("image", type=Path, nargs="+", help="PNG files to post in turn")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--key-file", type=Path, default=Path("filopodia-data/admin.key"))
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    key = arguments.key_file.read_text().strip()
    images = [path.read_bytes() for path in arguments.image]
    measure(arguments.url, key, arguments.learner, images, n_clients=1, seconds=1)
    sys.stdout.write(f"{platform.machine()}, {os.cpu_count()} cores\n")
    for n_clients in arguments.clients:
        load = measure(
            arguments.url,
            key,
            arguments.learner,
            images,
            n_clients=n_clients,
            seconds=arguments.seconds,
        )
        sys.stdout.write(
            f"{load.n_clients:3} clients  {load.images_per_s:7.1f} images/s  p50 {load.p50_ms:7.1f} ms  "
            f"p99 {load.p99_ms:7.1f} ms  {load.n_answers} answers, {load.n_failed} failed\n"
        )


if __name__ == "__main__":
    main()

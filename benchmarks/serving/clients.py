"""Clients that wait for their answers: `python -m benchmarks.serving.clients`, a process of its own.

Reads what to do as JSON, one line each, and writes what the clients saw. They speak HTTP by the standard library: on
two cores a comfortable client takes more of them than the service does.
"""

import http.client
import json
import statistics
import sys
import threading
import time
from base64 import b64decode
from dataclasses import asdict, dataclass
from typing import Any

GOOD = (200, 207)


@dataclass(frozen=True)
class Seen:
    """What some clients saw."""

    images_per_s: float
    p50_ms: float
    p99_ms: float
    n_failed: int


def ask(
    port: int, path: str, headers: dict[str, str], body: bytes, *, n_clients: int, seconds: float
) -> Seen:
    """Send the same request from some clients, each again as soon as it was answered."""
    times: list[float] = []
    failed: list[float] = []
    start = threading.Barrier(n_clients + 1)
    until = [0.0]

    def run() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.connect()
        start.wait()
        while (began := time.perf_counter()) < until[0]:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            answer.read()
            (times if answer.status in GOOD else failed).append(time.perf_counter() - began)
            if answer.status not in GOOD:
                time.sleep(0.1)
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(n_clients)]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    until[0] = began + seconds
    start.wait()
    for thread in threads:
        thread.join()
    wall_s = time.perf_counter() - began
    ordered = sorted(times) or [float("nan")]
    return Seen(
        images_per_s=round(len(times) / wall_s, 1),
        p50_ms=round(1000 * statistics.median(ordered), 1),
        p99_ms=round(1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1),
        n_failed=len(failed),
    )


def main() -> None:
    """Do what each line asks for, until there is none."""
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        body = b64decode(asked.pop("body"))
        sys.stdout.write(json.dumps(asdict(ask(body=body, **asked))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

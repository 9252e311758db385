"""Ask a service to stop, again and again, while it answers: `python -m benchmarks.stops --times 20`.

Each time three predictions are under way, accepted (the service said `100 Continue`) and half sent, when SIGTERM comes.
All must be answered. Real parts: a PostgreSQL of its own, a learner that has learned, one service process a stop.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from benchmarks.chaos.clients import SlowPrediction
from benchmarks.files import write_rows
from benchmarks.resume import Bench, Protocol
from benchmarks.waiting import wait_until
from registry.postgres.database import make_engine, make_session_factory, migrate
from registry.postgres.embedded import EmbeddedPostgres
from service.cli.local.demo_process import free_port
from worker.settings import WorkerSettings

N_UNDER_WAY, SECONDS = 3, 1.5
PATIENCE_S = 60.0


def stop_once(folder: Path, database_url: str, learner: str) -> dict[str, Any]:
    """Start a service, stop it while it answers, and return what became of the requests."""
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "FILOPODIA_DATA_DIR": str(folder),
        "FILOPODIA_PORT": str(port),
        "FILOPODIA_EMBEDDED_WORKER": "false",
    }
    command = [sys.executable, "-m", "service.main"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url)
        key = (folder / "admin.key").read_text().strip()
        requests = [SlowPrediction(url, key, learner, seconds=SECONDS) for _ in range(N_UNDER_WAY)]
        for request in requests:
            request.start()
        for request in requests:
            request.accepted.wait(PATIENCE_S)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        for request in requests:
            request.join()
        process.wait(PATIENCE_S)
        return {
            "accepted": sum(request.accepted.is_set() for request in requests),
            "answered": sum(request.outcome == "200" for request in requests),
            "seconds": round(time.monotonic() - started, 2),
        }
    finally:
        process.kill()


def main() -> None:
    """Print a line a stop and the sums; write them to a file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stops")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-stops-") as name,
        EmbeddedPostgres(Path(name)) as server,
    ):
        migrate(server.url)
        engine = make_engine(server.url, application_name="filopodia-stops")
        settings = WorkerSettings(
            data_dir=Path(name), database_url=SecretStr(server.url), device="cpu"
        )
        protocol = Protocol(strategy="simplecil", config={})
        Bench(protocol, make_session_factory(engine), settings).undisturbed()
        engine.dispose()
        for _ in range(arguments.times):
            rows.append(stop_once(Path(name), server.url, "undisturbed"))
            sys.stdout.write(f"{json.dumps(rows[-1])}\n")
            sys.stdout.flush()
    summary = {key: sum(row[key] for row in rows) for key in ("accepted", "answered")}
    summary["longest_s"] = max(row["seconds"] for row in rows)
    sys.stdout.write(f"{json.dumps(summary)}\n")
    if arguments.out is not None:
        head = {
            "command": "python -m benchmarks.stops",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "summary": summary,
        }
        write_rows(arguments.out, head, rows)


def _wait_until_ready(url: str) -> None:
    def is_ready() -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{url}/readyz").status_code == httpx.codes.OK
        return False

    wait_until(is_ready, PATIENCE_S)


if __name__ == "__main__":
    main()

"""Restarts in turn behind a real proxy: `python -m benchmarks.rolling --out benchmarks/results/rolling.json`.

Two services on one database, restarted one after the other by SIGTERM, while clients predict through the proxy on
connections kept alive, with small and with large bodies, and another one changes a learner. The proxy is told what
docs/deployment.md says. Exit code 1 if a prediction failed. Needs the proxies' programs.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.bad_input.encoding import encoded
from benchmarks.bad_input.service import picture
from benchmarks.files import write_rows
from benchmarks.rolling.proxies import PROXIES, Proxy, documented_lines, running
from benchmarks.rolling.replicas import LEARNER, PREDICTIONS, Replica, Site, learned_site
from benchmarks.waiting import wait_until

N_SMALL, N_LARGE = 4, 2
"""Clients that predict."""
LARGE_SIDE = 450
AT_LEAST = 20
"""Predictions that a service answers before the next one is restarted."""
SILENCE_S = 120.0


class Load:
    """Clients behind a proxy, until the block ends. Counts how requests ended, by what they were."""

    def __init__(self, url: str, site: Site) -> None:
        self.outcomes = {what: Counter[str]() for what in ("small", "large", "change")}
        self._url = url
        self._site = site
        self._stopping = threading.Event()
        large = np.random.default_rng(1).integers(0, 255, (LARGE_SIDE, LARGE_SIDE, 3), np.uint8)
        bodies = {"small": picture("heron", 1), "large": encoded(Image.fromarray(large), "PNG")}
        self.large_bytes = len(bodies["large"])
        self._threads = [
            *(self._thread("small", _predicts(bodies["small"])) for _ in range(N_SMALL)),
            *(self._thread("large", _predicts(bodies["large"])) for _ in range(N_LARGE)),
            self._thread("change", _changes),
        ]

    def _thread(self, what: str, ask: Callable[[httpx.Client], httpx.Response]) -> threading.Thread:
        return threading.Thread(target=self._ask_on, args=(what, ask))

    def _ask_on(self, what: str, ask: Callable[[httpx.Client], httpx.Response]) -> None:
        client = httpx.Client(
            base_url=self._url, headers=self._site.headers, timeout=SILENCE_S, trust_env=False
        )
        with client:
            while not self._stopping.is_set():
                try:
                    outcome = str(ask(client).status_code)
                except httpx.HTTPError as error:
                    outcome = type(error).__name__
                self.outcomes[what][outcome] += 1

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Ask as long as the block runs."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in self._threads:
                thread.join()


def _predicts(body: bytes) -> Callable[[httpx.Client], httpx.Response]:
    return lambda client: client.post(
        PREDICTIONS, content=body, headers={"Content-Type": "image/png"}
    )


def _changes(client: httpx.Client) -> httpx.Response:
    return client.patch(f"/v1/learners/{LEARNER}", json={"metadata": {"seen": True}})


def roll(site: Site, proxy: Proxy, drain_s: float, rounds: int) -> dict[str, Any]:
    """Restart both services in turn, some times, and return how requests ended meanwhile."""
    with ExitStack() as stack:
        replicas = [stack.enter_context(Replica(site, drain_s)) for _ in range(2)]
        wait_until(lambda: all(replica.is_ready() for replica in replicas))
        own = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=site.folder)))
        own.chmod(0o755)  # nginx's workers have a user of their own
        url = stack.enter_context(running(proxy, [r.netloc for r in replicas], own))
        load = Load(url, site)
        with load.going_on():
            for replica in replicas * rounds:
                wait_until(lambda: all(r.n_predictions() > AT_LEAST for r in replicas))
                replica.restart()
            wait_until(lambda: all(r.n_predictions() > AT_LEAST for r in replicas))
    counts = {what: dict(outcomes) for what, outcomes in load.outcomes.items()}
    return {
        "proxy": proxy.name,
        "version": proxy.told_version(),
        "drain_s": drain_s,
        "restarts": 2 * rounds,
        "lines": documented_lines(proxy.block),
        "large_bytes": load.large_bytes,
        "failed": sum(
            load.outcomes[w].total() - load.outcomes[w]["200"] for w in ("small", "large")
        ),
        **counts,
    }


def main() -> int:
    """Try the proxies and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rolling", description=__doc__)
    parser.add_argument("--proxy", nargs="+", choices=sorted(PROXIES), default=sorted(PROXIES))
    parser.add_argument("--drain-s", type=float, nargs="+", default=[5.0], help="FILOPODIA_DRAIN_S")
    parser.add_argument("--rounds", type=int, default=2, help="restarts of each service")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    rows = []
    with learned_site() as site:
        for name in arguments.proxy:
            for drain_s in arguments.drain_s:
                rows.append(roll(site, PROXIES[name], drain_s, arguments.rounds))
                shown = {name: value for name, value in rows[-1].items() if name != "lines"}
                sys.stdout.write(f"{json.dumps(shown)}\n")
                sys.stdout.flush()
    if arguments.out is not None:
        head = {
            "command": "python -m benchmarks.rolling",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, proxy and clients on them",
        }
        write_rows(arguments.out, head, rows)
    return 1 if any(row["failed"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

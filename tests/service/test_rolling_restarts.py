"""Two services on one database behind a proxy, restarted in turn under load; and what one says when it is to stop."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from benchmarks.bad_input.service import picture
from benchmarks.resume import Bench, Protocol
from registry import keys
from registry.database import make_engine, make_session_factory, migrate
from registry.embedded import EmbeddedPostgres
from service.cli.local.demo_process import free_port
from tests.service.http.balancer import balancer
from tests.waiting import PACE, wait_until, within
from worker.settings import WorkerSettings

pytestmark = pytest.mark.slow

PATH = "/v1/learners/undisturbed/predictions?store=false"
N_CLIENTS = 4


class Replica:
    """One of several services on a database. A context."""

    def __init__(self, site: "Site", drain_s: float) -> None:
        folder = Path(tempfile.mkdtemp(dir=site.folder))
        self.port = free_port()
        self.netloc = f"127.0.0.1:{self.port}"
        self._log = folder / "log"
        self._environment = {
            **os.environ,
            "DATABASE_URL": site.database,
            "BLOB_URL": str(site.folder / "blobs"),
            "FILOPODIA_DATA_DIR": str(folder),
            "FILOPODIA_PORT": str(self.port),
            "FILOPODIA_EMBEDDED_WORKER": "false",
            "FILOPODIA_MIN_FREE_BYTES": "0",
            "FILOPODIA_DRAIN_S": str(drain_s),
        }

    def __enter__(self) -> "Replica":
        command = [sys.executable, "-m", "service.main"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self._environment, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def is_ready(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"http://{self.netloc}/readyz").status_code == 200
        return False

    def restart(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait() == 0
        self.__enter__()
        wait_until(self.is_ready)


@dataclass(frozen=True)
class Site:
    """What all services have in common."""

    folder: Path
    database: str
    key: str


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A database with a learner that has learned."""
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-roll-") as name,
        EmbeddedPostgres(Path(name)) as server,
    ):
        migrate(server.url)
        engine = make_engine(server.url, application_name="filopodia-roll")
        sessions = make_session_factory(engine)
        settings = WorkerSettings(
            data_dir=Path(name), database_url=SecretStr(server.url), device="cpu"
        )
        Bench(Protocol(strategy="simplecil", config={}), sessions, settings).undisturbed()
        with sessions.begin() as session:
            _, key = keys.create_key(session, "roll", "predictor")
        engine.dispose()
        yield Site(Path(name), server.url, key)


@contextmanager
def replicas(site: Site, *drain_s: float) -> Iterator[list[Replica]]:
    """Run a service for each of these times to drain, until all have ended."""
    with ExitStack() as stack:
        found = [stack.enter_context(Replica(site, drain)) for drain in drain_s]
        wait_until(lambda: all(replica.is_ready() for replica in found))
        yield found


def test_no_prediction_fails_while_services_behind_a_proxy_are_restarted(site: Site) -> None:
    statuses: Counter[int] = Counter()
    stopping = threading.Event()

    def predict(url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "image/png"}
        with httpx.Client(base_url=url, headers=headers, timeout=PACE.scaled(60)) as client:
            while not stopping.is_set():
                statuses[client.post(PATH, content=picture("heron", 1)).status_code] += 1

    with (
        replicas(site, 1.0, 1.0) as found,
        balancer([replica.netloc for replica in found]) as proxy,
    ):
        clients = [
            threading.Thread(target=predict, args=(proxy.url, site.key)) for _ in range(N_CLIENTS)
        ]
        for client in clients:
            client.start()
        try:
            for replica in found:
                replica.restart()
                before = statuses.total()
                wait_until(lambda before=before: statuses.total() > before + 20)
        finally:
            stopping.set()
            for client in clients:
                client.join()
    assert set(statuses) == {200}, (statuses, proxy.repeated)
    assert statuses.total() > 100
    assert proxy.repeated["not connected"] > 0, "no service was away"


def test_one_that_is_to_stop_says_so_and_answers_meanwhile(site: Site) -> None:
    with replicas(site, PACE.scaled(3.0)) as (replica,):
        url = f"http://{replica.netloc}"
        headers = {"Authorization": f"Bearer {site.key}", "Content-Type": "image/png"}
        with httpx.Client(base_url=url, headers=headers, timeout=PACE.scaled(60)) as client:
            assert "connection" not in client.get("/livez").headers
            replica.process.send_signal(signal.SIGTERM)
            wait_until(lambda: client.get("/readyz").status_code == 503)
            assert client.get("/readyz").json()["status"] == "stopping"
            answer = client.post(PATH, content=picture("heron", 1))
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        with socket.create_connection(("127.0.0.1", replica.port)) as connection:
            with within(15):
                assert replica.process.wait() == 0
            assert connection.recv(1) == b""


def test_ctrl_c_does_not_wait_for_proxies(site: Site) -> None:
    with replicas(site, 600.0) as (replica,):
        replica.process.send_signal(signal.SIGINT)
        with within(15):
            assert replica.process.wait() == 0

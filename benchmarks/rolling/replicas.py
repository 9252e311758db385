"""Several services on one database, each restarted as an operator would."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
from pydantic import SecretStr

from benchmarks.resume import Bench, Protocol
from benchmarks.waiting import wait_until
from registry import keys
from registry.postgres.database import make_engine, make_session_factory, migrate
from registry.postgres.embedded import EmbeddedPostgres
from service.cli.local.demo_process import free_port
from worker.settings import WorkerSettings

LEARNER = "undisturbed"
"""The learner that has learned, as `Bench.undisturbed` names it."""
PREDICTIONS = f"/v1/learners/{LEARNER}/predictions?store=false"
ANSWERED = re.compile(
    r'^filopodia_requests_total\{.*route="/v1/learners/\{name\}/predictions".*\} (\S+)$',
    re.MULTILINE,
)


@dataclass(frozen=True)
class Site:
    """What all services have in common."""

    folder: Path
    database: str
    key: str
    """A trainer's."""

    @property
    def headers(self) -> dict[str, str]:
        """What a request carries besides its body."""
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def learned_site() -> Iterator[Site]:
    """Run a database with a learner that has learned."""
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
            _, key = keys.create_key(session, "roll", "trainer")
        engine.dispose()
        yield Site(Path(name), server.url, key)


class Replica:
    """One of several services on a database. A context."""

    def __init__(self, site: Site, drain_s: float) -> None:
        folder = Path(tempfile.mkdtemp(dir=site.folder))
        self.port = free_port()
        self.netloc = f"127.0.0.1:{self.port}"
        self._site = site
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

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "service.cli.main", "serve"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self._environment, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def is_ready(self) -> bool:
        """Return whether it answers predictions."""
        with suppress(httpx.HTTPError):
            answer = httpx.get(f"http://{self.netloc}/readyz", trust_env=False)
            return answer.status_code == httpx.codes.OK
        return False

    def n_predictions(self) -> float:
        """Return how many predictions it has answered since it was started."""
        url = f"http://{self.netloc}/metrics"
        text = httpx.get(url, headers=self._site.headers, trust_env=False).text
        return sum(map(float, ANSWERED.findall(text)))

    def restart(self) -> None:
        """Stop it as whoever runs services does, and return when it is ready again.

        Raises:
            ChildProcessError: If it does not end well.
        """
        self.process.send_signal(signal.SIGTERM)
        if code := self.process.wait():
            raise ChildProcessError(f"The service ended with {code}.")
        self.__enter__()
        wait_until(self.is_ready)

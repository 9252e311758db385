"""Files that only their owner may read: keys and secrets in the data directory."""

import os
import secrets
from pathlib import Path

SESSION_SECRET_FILE = "session.secret"


def write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600; it appears complete or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def session_secret(data_dir: Path) -> bytes:
    """Return the secret that the dashboard's sessions are signed with, made at the first call.

    It lies outside the database, so that a copy of that is not enough to forge a session.
    """
    path = data_dir / SESSION_SECRET_FILE
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        write_private(path, secrets.token_hex(32))
    return bytes.fromhex(path.read_text(encoding="utf-8"))

"""Make the passwords of PostgreSQL and Redis at the first start; later starts keep them.

They exist only as files that their owner may read. Redis gets the hash of its own, as a list of what a client may do.
"""

import hashlib
import os
import secrets
from pathlib import Path

RULES = "~filopodia:* resetchannels &filopodia:* +@all -@admin -@dangerous"
"""What a client of Redis may do: anything with our keys, nothing with the server."""


def main(folder: Path) -> None:
    """Write what is missing below a folder that holds a folder for each server."""
    password_in(folder / "postgres" / "password")
    digest = hashlib.sha256(password_in(folder / "redis" / "password").encode()).hexdigest()
    write(folder / "redis" / "users.acl", f"user default on #{digest} {RULES}\n")


def password_in(path: Path) -> str:
    """Return the password in a file, made up if there is none."""
    if not path.exists():
        write(path, secrets.token_urlsafe(32))
    return path.read_text()


def write(path: Path, text: str) -> None:
    """Write a file with mode 0600; it appears complete or not at all."""
    temporary = path.with_name(f".{path.name}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


if __name__ == "__main__":
    main(Path("/secrets"))

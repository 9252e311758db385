"""Ask the database whether the worker of this container said lately that it lives. Exit code 0: yes.

A worker says so every 5 s. While the database is away nobody can tell, and no worker can learn.
"""

import socket
import sys

import psycopg

from registry.settings import RegistrySettings

QUESTION = """
    SELECT true FROM workers
    WHERE host = %s AND stopped_at IS NULL AND seen_at > now() - interval '30 seconds'
"""
TIMEOUT_S = 5


def main() -> int:
    """Return the exit code."""
    dsn = RegistrySettings.read().database_dsn()
    if dsn is None:
        sys.stderr.write("DATABASE_URL is missing.\n")
        return 1
    try:
        with psycopg.connect(dsn, connect_timeout=TIMEOUT_S) as connection:
            is_alive = connection.execute(QUESTION, [socket.gethostname()]).fetchone() is not None
    except psycopg.OperationalError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0 if is_alive else 1


if __name__ == "__main__":
    sys.exit(main())

"""Starts in places that are somebody else's: variables of other PostgreSQL servers, IPv6, a port in use."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.waiting import PACE, wait_until

HOSTILE = {
    "PGHOST": "db.invalid",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGDATABASE": "theirs",
    "PGUSER": "nobody",
    "PGPASSWORD": "secret",
    "PGPASSFILE": "/nowhere/pgpass",
    "PGSERVICE": "theirs",
    "PGSERVICEFILE": "/nowhere/services",
    "PGSYSCONFDIR": "/nowhere",
    "PGOPTIONS": "-c no_such_setting=1",
    "PGAPPNAME": "theirs",
    "PGSSLMODE": "verify-full",
    "PGSSLNEGOTIATION": "direct",
    "PGSSLROOTCERT": "/nowhere/root.crt",
    "PGSSLCERT": "/nowhere/client.crt",
    "PGSSLKEY": "/nowhere/client.key",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGREQUIREPEER": "nobody",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGKRBSRVNAME": "theirs",
    "PGCONNECT_TIMEOUT": "never",
    "PGCLIENTENCODING": "KLINGON",
    "PGTARGETSESSIONATTRS": "standby",
    "PGLOADBALANCEHOSTS": "sometimes",
    "PGDATESTYLE": "nonsense",
    "PGTZ": "Mars/Olympus",
    "PGGEQO": "perhaps",
    "PGMINPROTOCOLVERSION": "9.9",
    "PGDATA": "/nowhere/data",
    "PGCTLTIMEOUT": "0",
}
"""What libpq and the server's programs read, each with what would break a start if it were meant for us."""
SETTINGS = {"FILOPODIA_PORT": "0", "FILOPODIA_MIN_FREE_BYTES": "0", "FILOPODIA_TORCH_THREADS": "1"}


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@contextmanager
def started(*command, **environment):
    """A service, and its data directory, once it says where it is."""
    with tempfile.TemporaryDirectory(prefix="filopodia-odd-") as folder:
        data = Path(folder) / "data"
        process = subprocess.Popen(
            [sys.executable, *(command or ("-m", "service.main"))],
            env=os.environ | SETTINGS | {"FILOPODIA_DATA_DIR": str(data)} | environment,
            stderr=subprocess.DEVNULL,
        )
        try:
            found = wait_until(lambda: process.poll() or (data / "service.json").exists(), 120)
            assert found is True, f"it ended with {found}"
            yield process, data
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait()
        assert code == 0


@pytest.mark.slow
@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_variables_of_other_servers_and_an_address_of_ipv6():
    """Each of the variables is meant for other programs; the address announced is one that a client can use."""
    with started(FILOPODIA_HOST="::1", **HOSTILE) as (_, data):
        url = json.loads((data / "service.json").read_text())["url"]
        assert url.startswith("http://[::1]:")
        headers = {"Authorization": f"Bearer {(data / 'admin.key').read_text().strip()}"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
            # The worker has reached the database too.
            wait_until(lambda: client.get("/readyz").json()["worker"] == "up", 120)
            assert client.get("/v1/learners").json()["items"] == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_port_in_use_is_told_before_pytorch_is_loaded(host, tmp_path):
    if host == "::1" and not has_ipv6():
        return
    # It is there, so that the command does not take this for an installation of the client alone.
    (tmp_path / "torch.py").write_text("raise ImportError('Loaded too early.')")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "from service.cli.entry import main; sys.argv = ['filopodia', 'serve']; main()"
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ
            | {"FILOPODIA_DATA_DIR": str(tmp_path / "data"), "FILOPODIA_HOST": host}
            | {"FILOPODIA_PORT": str(port)},
            capture_output=True,
            text=True,
            check=False,
            timeout=PACE.scaled(60),
        )
    assert done.returncode == 1
    report = json.loads(done.stderr)
    shown = f"[{host}]" if ":" in host else host
    assert report["event"] == "not_started"
    assert report["reason"].startswith(f"Nothing can listen on {shown}:{port} (")

"""A real service as a process of its own, for tests that meet it only as a user does."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cli.local.demo_process import ServiceProcess
from service.client import Filopodia
from tests.acceptance.user import SETTINGS


@pytest.fixture(scope="session")
def service() -> Iterator[ServiceProcess]:
    """A running service in a data directory of its own. Whoever stops it, starts it again."""
    # Not below pytest's folder: the embedded database runs as another user when we are root.
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-test-") as folder,
        ServiceProcess(Path(folder) / "data", environment=SETTINGS) as service,
    ):
        yield service


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[Filopodia]:
    """A client with the first admin key."""
    address = service.address()
    with Filopodia(address.url, address.key) as client:
        yield client

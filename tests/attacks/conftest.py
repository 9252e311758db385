"""A real service, started as its users start it, with a learner to ask."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.bad_input.service import Service


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """A service process that all attacks meet, one after another."""
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-attacked-") as folder,
        Service(Path(folder), backbone="tiny") as service,
    ):
        service.teach("heron", "egret")
        yield service

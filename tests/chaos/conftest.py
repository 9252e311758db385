"""A program to strike."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos.cluster import RUN_VARIABLE
from benchmarks.chaos.programs import Program
from tests.waiting import wait_until


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """Something that runs until it is stopped, in a run of its own."""
    program = Program(
        "sleeper",
        [sys.executable, "-c", "import time; time.sleep(100_000)"],
        environment={RUN_VARIABLE: tmp_path.name},
        log=tmp_path / "sleeper.log",
        probe=lambda: True,
    )
    program.start()
    wait_until(lambda: program.is_ready)
    yield program
    program.stop()

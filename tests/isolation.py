"""A pytest plugin: a test that is cut short leaves nothing that another one could trip over.

After every test, whatever became of it:

- processes that it started and that still run are killed. Those of fixtures that live on are known by their commands.
- what it did not close is collected, so that a warning about it is its own and not that of whichever test runs when the
  collector happens to. A failed test has no warnings, and its frames are let go.

A test that passes and has left something fails. The time limit of a test is a budget like all others: see `waiting`.
"""

import contextlib
import gc
import os
import signal
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Generator
from typing import Any

import pytest
import pytest_timeout

from benchmarks.chaos.system import command, descendants, send
from registry.postgres.embedded import EmbeddedPostgres
from tests.processes import children, is_alive, marked
from tests.waiting import PACE, wait_until

RUN_VARIABLE = "PYTEST_RUN_OF"
"""Environment variable that all processes of a test run have in common."""
ENDING_S = 5.0
"""How long a process that a test has told to end may go on after the test."""
LASTING = "from multiprocessing.resource_tracker import main"
"""How the command of a helper begins that Python starts once for as long as we run."""
MOST_ROUNDS = 5
FROZEN_FOR = 200
"""Tests after which the collector looks through all that is there, and not only what is new since the last test."""
LAST_ERROR = ("last_exc", "last_type", "last_value", "last_traceback")


class Isolation:
    """Follows one test run."""

    def __init__(self) -> None:
        self._run_id = uuid.uuid4().hex
        self._owned: set[int] = set()
        """Processes that fixtures of a wider scope than a test have started."""
        self._commands: set[tuple[str, ...]] = set()
        """What they run. A test may end one and start it again."""
        self._unraisable: list[str] = []
        self._has_failed = False
        self._n_tests = 0
        self._limits: tuple[Any, ...] | None = None

    # The limit of time.

    @pytest.hookimpl
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> bool | None:
        """Set the test's alarm so far away as the pace says; asked again by the alarm, it may be set once more."""
        if settings.method != "signal" or threading.current_thread() is not threading.main_thread():
            return None
        started = time.monotonic()
        self._limits = (item, settings)

        def ring(number: int, frame: object) -> None:
            __tracebackhide__ = True
            took_s = time.monotonic() - started
            left_s = settings.timeout * PACE.again() - took_s
            # If what follows hangs as well, that is cut short too.
            signal.setitimer(signal.ITIMER_REAL, left_s if left_s > 0 else took_s)
            if left_s <= 0:
                pytest_timeout.timeout_sigalrm(item, settings._replace(timeout=round(took_s, 1)))

        def cancel() -> None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

        item.cancel_timeout = cancel  # type: ignore[attr-defined]
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, PACE.scaled(settings.timeout))
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Give the teardown of a failed test a limit too: failing has cancelled the test's."""
        if self._has_failed and self._limits is not None and self._limits[0] is item:
            self.pytest_timeout_set_timer(*self._limits)
        return (yield)

    # What is left.

    def pytest_sessionstart(self) -> None:
        """Mark all processes to come, and take over what cannot be raised."""
        os.environ[RUN_VARIABLE] = self._run_id
        sys.unraisablehook = self._note_unraisable

    def pytest_collection_finish(self) -> None:
        """Leave what importing has made to itself, so that collecting after each test is cheap."""
        _collect()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, object, object]:
        """Learn which processes belong to fixtures that outlive a test."""
        if fixturedef.scope == "function":
            return (yield)
        before = set(children(os.getpid()))
        try:
            return (yield)
        finally:
            # Their commands are not known yet: one that has just been started may have none.
            self._owned |= set(children(os.getpid())) - before

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure of the test that runs."""
        self._has_failed |= report.failed

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Clear up after a test, and report what a test that passed has left as an error of its own."""
        self._has_failed = False
        result = yield
        self._n_tests += 1
        if self._n_tests % FROZEN_FOR == 0:
            gc.unfreeze()
        if self._has_failed:
            self._clear_up()
            return result
        call = pytest.CallInfo.from_call(self._insist_on_nothing, when="teardown")
        if call.excinfo is not None:
            report = item.ihook.pytest_runtest_makereport(item=item, call=call)
            item.ihook.pytest_runtest_logreport(report=report)
        return result

    def pytest_unconfigure(self) -> None:
        """Kill what is left of the run, however it has ended."""
        _kill([*self._left(), *marked(f"{RUN_VARIABLE}={self._run_id}")])

    def _insist_on_nothing(self) -> None:
        __tracebackhide__ = True
        _collect()
        unraisable, self._unraisable = self._unraisable, []
        left = self._left()
        if left:
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not any(map(is_alive, left)), ENDING_S)
            left = [pid for pid in left if is_alive(pid)]
        named = [" ".join(command(pid)) for pid in left]
        _kill(left)
        assert not unraisable, "left by this test: " + "\n".join(unraisable)
        assert not named, f"processes left by this test: {named}"

    def _clear_up(self) -> None:
        """Kill and forget whatever a failed test has left; that it failed is known."""
        left = self._left()
        for server in _servers(left):
            server.stop()
        _kill(left)
        for name in LAST_ERROR:
            if hasattr(sys, name):
                delattr(sys, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _collect()
        self._unraisable.clear()

    def _left(self) -> list[int]:
        """Return our children that no living fixture accounts for."""
        running = {pid: tuple(command(pid)) for pid in children(os.getpid()) if is_alive(pid)}
        self._owned &= running.keys()
        self._commands |= {running[pid] for pid in self._owned}
        return [
            pid
            for pid, arguments in running.items()
            if arguments not in self._commands
            and not any(argument.startswith(LASTING) for argument in arguments)
        ]

    def _note_unraisable(self, unraisable: Any) -> None:
        # Text, and not the object: that would keep alive what is about to go.
        what = unraisable.err_msg or "Exception ignored in"
        raised = f"{type(unraisable.exc_value).__name__}: {unraisable.exc_value}"
        self._unraisable.append(f"{what}: {unraisable.object!r}: {raised}")


def _collect() -> None:
    """Collect until nothing is found: what is collected may hold on to more, as a pool does to its connections.

    What is left, as in caches, is not looked through again after each of the next tests: it grows, and in the end that
    took as long as the tests.
    """
    for _ in range(MOST_ROUNDS):
        if gc.collect() == 0:
            break
    gc.freeze()


def _servers(pids: list[int]) -> list[EmbeddedPostgres]:
    """Return the servers that run as these processes: killed, they would be started again."""
    servers = [found for found in gc.get_objects() if isinstance(found, EmbeddedPostgres)]
    return [server for server in servers if server._process and server._process.pid in pids]


def _kill(pids: list[int]) -> None:
    """Kill processes and all they have started, and wait until they are gone."""
    family = [one for pid in pids for one in (pid, *descendants(pid))]
    send(signal.SIGKILL, *family)
    wait_until(lambda: not any(map(is_alive, family)))

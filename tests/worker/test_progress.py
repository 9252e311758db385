import threading

import pytest

from models.errors import StoppedError
from models.progress import Progress
from registry import events, queue, tasks
from registry.errors import FencedError
from registry.postgres.database import make_engine, make_session_factory
from tests.factories import make_learner, make_task
from worker.progress import SHARES, ProgressReporter


class Clock:
    """Time that goes only when told."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def claimed(session_factory, blobs):
    with session_factory.begin() as session:
        make_learner(session)
        make_task(session, blobs)
    with session_factory.begin() as session:
        return queue.claim_next(session, "w", 30)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def reporter(session_factory, claimed, clock):
    return ProgressReporter(session_factory, claimed.id, claimed.token, interval_s=0.5, clock=clock)


def written(session_factory, task_id):
    with session_factory() as session:
        return [
            event.data for event in events.list_events(session, task_id) if event.type == "progress"
        ]


def test_shares_add_up():
    assert sum(SHARES.values()) == pytest.approx(1)


def test_writes_each_phase_at_once_and_steps_not_too_often(
    session_factory, claimed, reporter, clock
):
    reporter.enter("preparing")
    for step in range(10):
        clock.now += 0.2
        reporter.report(Progress("training", step / 10, epoch=step, epochs=10))
    progress = written(session_factory, claimed.id)
    assert [(row["phase"], row["epoch"]) for row in progress] == [
        ("preparing", None),
        ("training", None),
        ("training", 3),
        ("training", 6),
        ("training", 9),
    ]
    fractions = [row["fraction"] for row in progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(0.1 + 0.6 * 0.9)
    assert progress[-1]["eta_seconds"] == pytest.approx(2.0 * (1 / 0.64 - 1), abs=0.1)
    with session_factory() as session:
        assert tasks.get_task(session, claimed.id).progress == progress[-1]


def test_times_the_phases(reporter, clock):
    for phase, seconds in (("preparing", 1.0), ("training", 4.0), ("evaluating", 0.5)):
        reporter.enter(phase)
        clock.now += seconds
    reporter.enter("publishing")
    assert reporter.seconds == {"preparing": 1.0, "training": 4.0, "evaluating": 0.5}


def test_never_goes_backwards(session_factory, claimed, reporter):
    for phase in ("training", "consolidating", "training"):
        reporter.enter(phase)
    assert [row["fraction"] for row in written(session_factory, claimed.id)] == [0.1, 0.7, 0.7]


def test_stops_an_attempt_that_is_no_longer_current(session_factory, claimed, reporter):
    with session_factory.begin() as session:
        queue.fail_task(session, claimed.id, claimed.token, "internal", "Ended elsewhere.")
    with pytest.raises(FencedError):
        reporter.enter("training")


def test_stops_an_attempt_when_told_but_not_in_the_midst_of_training(session_factory, claimed):
    stop = threading.Event()
    reporter = ProgressReporter(session_factory, claimed.id, claimed.token, interval_s=0, stop=stop)
    reporter.enter("preparing")
    stop.set()
    reporter.report(Progress("training", 0.5))
    with pytest.raises(StoppedError):
        reporter.report(Progress("consolidating", 0.5))


def test_what_an_earlier_attempt_did_does_not_shorten_the_estimate(
    session_factory, claimed, reporter, clock
):
    reporter.enter("preparing")
    clock.now = 10.0
    reporter.report(Progress("training", 0.5))  # from a checkpoint
    clock.now = 20.0
    reporter.report(Progress("training", 0.75))
    first, progress = written(session_factory, claimed.id)[-2:]
    assert (first["fraction"], first["eta_seconds"]) == (0.1, None)
    assert progress["fraction"] == pytest.approx(0.55)
    # 0.15 of the whole took 10 s.
    assert progress["eta_seconds"] == pytest.approx(10 * 0.45 / 0.15, abs=0.1)


def test_learning_goes_on_while_the_database_is_away(claimed, clock):
    engine = make_engine("postgresql://nobody@127.0.0.1:1/nothing", application_name="tests")
    reporter = ProgressReporter(
        make_session_factory(engine), claimed.id, claimed.token, interval_s=0, clock=clock
    )
    reporter.report(Progress("training", 0.5))

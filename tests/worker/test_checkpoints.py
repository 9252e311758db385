import threading

import pytest

from models.errors import StoppedError
from registry import queue, tasks, versions
from registry.errors import FencedError
from registry.postgres.database import make_engine, make_session_factory
from tests.factories import make_learner, make_task
from worker.attempts import EXIT_SETTLED, EXIT_UNSETTLED, run_attempt
from worker.checkpoints import MOST_SHARE, CheckpointKeeper
from worker.settings import WorkerSettings

A_MOMENT = {"epochs": 20, "bottleneck": 4}


class Clock:
    """Time that goes only when told, or by so much at every look."""

    now = 0.0
    step = 0.0

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def task_id(session_factory, blobs):
    with session_factory.begin() as session:
        make_learner(session, strategy="finetune", config=A_MOMENT)
        return make_task(session, blobs, config=A_MOMENT, seed=5).id


@pytest.fixture
def claim(session_factory, task_id):
    def run():
        with session_factory.begin() as session:
            return queue.claim(session, task_id, "w", 30)

    return run


@pytest.fixture
def make_keeper(session_factory, blobs, clock, claim):
    """A function that makes the keeper of a new attempt; `stop` is told apart by setting it."""

    def make(factory=session_factory, stop=None):
        claimed = claim()
        stop = stop or threading.Event()
        return CheckpointKeeper(
            factory, blobs, claimed.id, claimed.token, interval_s=30, stop=stop, clock=clock
        )

    return make


def named(session_factory, task_id):
    with session_factory() as session:
        return tasks.get_task(session, task_id).checkpoint


def stored(blobs):
    return {path.parent.name + path.name for path in blobs.root.glob("sha256/*/*")}


def test_one_is_due_after_each_interval_of_training(make_keeper, clock):
    keeper = make_keeper()
    clock.now = 1000.0
    due_at = []
    for _ in range(100):
        if keeper.is_due():
            due_at.append(clock.now)
            keeper.keep(b"checkpoint")
        clock.now += 1
    assert due_at == [1030.0, 1060.0, 1090.0]


def test_a_slow_store_gets_them_less_often(make_keeper, clock):
    keeper = make_keeper()
    clock.step = 5.0
    began = clock.now
    keeper.keep(b"checkpoint")
    clock.step = 0.0
    kept, seconds = clock.now, clock.now - began
    clock.now = kept + 5.0 / MOST_SHARE - 1
    assert not keeper.is_due()
    clock.now = kept + seconds / MOST_SHARE
    assert keeper.is_due()


def test_keeps_the_newest_alone(session_factory, blobs, make_keeper, claim, task_id):
    images = stored(blobs)
    keeper = make_keeper()
    for i in range(3):
        keeper.keep(f"checkpoint {i}".encode())
    assert stored(blobs) - images == {named(session_factory, task_id)}
    with session_factory.begin() as session:
        task = tasks.get_task(session, task_id)
        queue.requeue_task(session, task_id, task.token, "worker-lost", "It was.", 0.0)
    # Another attempt takes the place of what this one left.
    make_keeper().keep(b"checkpoint of another attempt")
    assert stored(blobs) - images == {named(session_factory, task_id)}
    assert blobs.get(named(session_factory, task_id)) == b"checkpoint of another attempt"


def test_told_to_stop_it_keeps_one_at_once_and_stops(session_factory, blobs, make_keeper, task_id):
    stop = threading.Event()
    keeper = make_keeper(stop=stop)
    assert not keeper.is_due()
    stop.set()
    assert keeper.is_due()
    with pytest.raises(StoppedError):
        keeper.keep(b"checkpoint")
    assert blobs.get(named(session_factory, task_id)) == b"checkpoint"


@pytest.mark.parametrize("place", ["checkpoint.before_blob", "checkpoint.before_commit"])
def test_learning_goes_on_without_one_that_cannot_be_kept(
    session_factory, blobs, make_keeper, task_id, monkeypatch, tmp_path, place
):
    images = stored(blobs)
    keeper = make_keeper()
    monkeypatch.setenv("FILOPODIA_FAILPOINTS", str(tmp_path))
    (tmp_path / place).write_text("full")
    keeper.keep(b"lost")
    assert named(session_factory, task_id) is None
    keeper.keep(b"kept")
    assert stored(blobs) - images == {named(session_factory, task_id)}


def test_learning_goes_on_while_the_database_is_away(make_keeper):
    engine = make_engine("postgresql://nobody@127.0.0.1:1/nothing", application_name="tests")
    make_keeper(make_session_factory(engine)).keep(b"checkpoint")


def test_an_attempt_that_is_no_longer_current_stops_and_leaves_the_next_ones(
    session_factory, blobs, make_keeper, task_id
):
    stale = make_keeper()
    stale.keep(b"of the first")
    with session_factory.begin() as session:
        queue.release_leases(session, "w")
    make_keeper().keep(b"of the second")
    with pytest.raises(FencedError):
        stale.keep(b"too late")
    assert blobs.get(named(session_factory, task_id)) == b"of the second"


@pytest.fixture
def settings(database_url, tmp_path):
    return WorkerSettings(
        data_dir=tmp_path, database_url=database_url, device="cpu", progress_s=0, checkpoint_s=60
    )


@pytest.fixture
def attempt(session_factory, blobs, settings, claim):
    """A function that learns the task here, and stops at so large a share of the progress."""

    def run(until=1.0):
        claimed = claim()
        stop, has_ended = threading.Event(), threading.Event()

        def watch():
            while not has_ended.wait(0.005):
                with session_factory() as session:
                    progress = tasks.get_task(session, claimed.id).progress
                if progress["phase"] == "training" and progress["fraction"] >= until:
                    stop.set()

        watching = threading.Thread(target=watch)
        watching.start()
        code = run_attempt(
            claimed.id,
            claimed.token,
            session_factory=session_factory,
            blobs=blobs,
            settings=settings,
            stop=stop,
        )
        has_ended.set()
        watching.join()
        if code == EXIT_UNSETTLED:
            with session_factory.begin() as session:
                queue.give_back(session, claimed.id, claimed.token)
        return code

    return run


@pytest.fixture(scope="module")
def known():
    """Manifest of the task by the name of its strategy, once it is known."""
    return {}


@pytest.fixture
def undisturbed(session_factory, blobs, settings, known):
    """Manifest of the same task, learned by another learner without a stop."""
    if "finetune" in known:
        return known["finetune"]
    with session_factory.begin() as session:
        make_learner(session, "undisturbed", strategy="finetune", config=A_MOMENT)
        task = make_task(session, blobs, "undisturbed", config=A_MOMENT, seed=5)
        session.flush()
        claimed = queue.claim(session, task.id, "w", 30)
    run_attempt(
        task.id, claimed.token, session_factory=session_factory, blobs=blobs, settings=settings
    )
    known["finetune"] = manifest(session_factory, task.id)
    return known["finetune"]


def manifest(session_factory, task_id):
    with session_factory() as session:
        task = tasks.get_task(session, task_id)
        assert task.status == "succeeded", (task.status, task.error)
        return versions.get_version(session, task.learner_id, task.version).manifest_sha256


def test_stopped_twice_it_publishes_the_same_artifact(
    session_factory, undisturbed, attempt, task_id, capsys
):
    assert attempt(until=0.2) == EXIT_UNSETTLED
    first = named(session_factory, task_id)
    assert attempt(until=0.5) == EXIT_UNSETTLED
    assert named(session_factory, task_id) not in (None, first)
    assert attempt() == EXIT_SETTLED
    assert manifest(session_factory, task_id) == undisturbed
    logged = capsys.readouterr().out
    assert logged.count("checkpoint_found") == 2
    assert "checkpoint_ignored" not in logged


def no_blob(blobs, kept):
    return "0" * 64


def noise(blobs, kept):
    return blobs.put(b"not a checkpoint at all")


def of_older_code(blobs, kept):
    data = blobs.get(kept)
    changed = data.replace(b'\\"torch\\": \\"2.', b'\\"torch\\": \\"1.')
    assert changed != data
    return blobs.put(changed)


def of_another_training(blobs, kept):
    """Belongs to the task, and yet is of a section that there is not."""
    data = blobs.get(kept)
    changed = data.replace(b'\\"batch_size\\": 16,', b'\\"batch_size\\": 17,', 1)
    assert changed != data
    return blobs.put(changed)


def rotten(blobs, kept):
    path = blobs._path(kept)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    return kept


@pytest.mark.parametrize(
    "harm",
    [no_blob, rotten, noise, of_older_code, of_another_training],
)
def test_one_that_cannot_be_used_is_ignored(
    session_factory, blobs, undisturbed, attempt, task_id, capsys, harm
):
    attempt(until=0.2)
    harmed = harm(blobs, named(session_factory, task_id))
    with session_factory.begin() as session:
        tasks.get_task(session, task_id).checkpoint = harmed
    assert attempt() == EXIT_SETTLED
    assert manifest(session_factory, task_id) == undisturbed
    assert "checkpoint_ignored" in capsys.readouterr().out

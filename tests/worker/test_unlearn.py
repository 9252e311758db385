import pytest

from models import artifact
from models.errors import MissingImagesError, UnknownContentError
from registry import learners, samples, tasks, versions
from registry.tables import TaskRow
from tests.factories import make_learner, make_task
from worker.errors import PermanentTaskError
from worker.failures import sort_error
from worker.settings import WorkerSettings


@pytest.fixture
def settings(database_url, tmp_path):
    return WorkerSettings(data_dir=tmp_path, database_url=database_url, device="cpu", progress_s=0)


@pytest.fixture
def learner(session_factory, blobs, attempt):
    """A learner of two tasks: heron and egret, then heron again and crane."""
    with session_factory.begin() as session:
        learner = make_learner(session)
    for classes in (("heron", "egret"), ("heron", "crane")):
        with session_factory.begin() as session:
            task = make_task(session, blobs, classes=classes, mode="extend", n_train=4, n_eval=2)
        assert attempt(task.id).status == "succeeded"
    return learner


@pytest.fixture
def add(session_factory):
    """A function that queues an unlearning."""

    def run(tasks_=(), classes=(), **options):
        with session_factory.begin() as session:
            return tasks.add_unlearning(
                session,
                "birds",
                name=None,
                tasks=tasks_,
                classes=classes,
                options=options,
                needs_images=False,
            ).id

    return run


def test_a_task_goes_and_what_it_added_to_an_older_class(
    session_factory, blobs, tiny_backbone, learner, add, attempt
):
    task = attempt(add([2]))
    assert (task.status, task.error, task.classes) == ("succeeded", None, ["crane"])
    with session_factory() as session:
        first, last = (versions.get_version(session, learner.id, n) for n in (1, 3))
    # Simplecil is exact: what is left is the first version, byte for byte.
    assert last.manifest_sha256 == first.manifest_sha256
    assert (last.parent, last.tasks, last.classes) == (2, [1], ["heron", "egret"])
    assert last.metrics["unlearning"]["classes"] == ["crane"]
    assert set(last.metrics["confusion"]) == {"1"}
    strategy = artifact.load(blobs.get(last.manifest_sha256), blobs.get, tiny_backbone)
    assert strategy.task_indexes_ == (1,)


def test_a_class_goes_from_every_task(session_factory, learner, add, attempt):
    attempt(add(classes=["heron"]))
    with session_factory() as session:
        version = versions.get_version(session, learner.id, 3)
        left = samples.eval_samples_by_task(session, learner.id, [1, 2])
    assert (version.tasks, version.classes) == ([1, 2], ["egret", "crane"])
    # No held-out heron was asked about, and none is kept.
    assert {i: set(c) for i, c in version.metrics["confusion"].items()} == {
        "1": {"egret"},
        "2": {"crane"},
    }
    assert {row.label for rows in left.values() for row in rows} == {"egret", "crane"}


@pytest.mark.parametrize("place", ["learn.learned", "publish.after_blobs", "publish.before_commit"])
def test_what_fails_on_the_way_takes_nothing_away(
    session_factory, learner, add, attempt, monkeypatch, tmp_path, place
):
    task_id = add([2])
    monkeypatch.setenv("FILOPODIA_FAILPOINTS", str(tmp_path))
    (tmp_path / place).write_text("full")
    assert attempt(task_id).status == "queued"
    with session_factory.begin() as session:
        assert learners.live_version(session, learner.id) == 2
        assert versions.find_live_version(session, "birds") is not None
        assert len(samples.eval_samples_by_task(session, learner.id, [1, 2])) == 2
        tasks.get_task(session, task_id).not_before = None
    assert attempt(task_id).version == 3


def test_a_result_that_breaks_the_bound_is_held_and_takes_nothing_away(
    session_factory, learner, add, attempt
):
    # Even forgetting nothing is above this bound.
    task = attempt(add([2], max_forgetting=-1.0))
    assert task.status == "held"
    with session_factory.begin() as session:
        assert versions.find_live_version(session, "birds").version == 2
        assert versions.publish_held(session, task.id).tasks == [1]


def test_what_changed_while_it_waited_fails_with_a_sentence(session_factory, learner, add, attempt):
    task_id = add([2])
    with session_factory.begin() as session:
        session.get(TaskRow, task_id).options = {"tasks": [1, 2], "classes": []}
    task = attempt(task_id)
    assert (task.status, task.error["code"]) == ("failed", "cannot-unlearn")
    assert "Nothing" in task.error["detail"]
    with session_factory.begin() as session:
        session.get(TaskRow, task_id).options = {"tasks": [7], "classes": []}
        session.get(TaskRow, task_id).status = "queued"
    task = attempt(task_id)
    assert (task.status, task.error["code"]) == ("failed", "cannot-unlearn")
    assert "has not learned 7" in task.error["detail"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MissingImagesError("Some are missing."), "data-unreadable"),
        (UnknownContentError("It is not known."), "cannot-unlearn"),
    ],
)
def test_how_it_fails(error, code):
    sorted_error = sort_error(error)
    assert isinstance(sorted_error, PermanentTaskError)
    assert (sorted_error.code, sorted_error.detail) == (code, str(error))

import pytest

from models import artifact
from models.errors import CorrectionError
from registry import consolidations, learners, samples, tasks, versions
from registry.schedule import Schedule
from registry.tables import SampleRow, TaskRow
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
        learner = make_learner(session, strategy="artsy")
    for classes in (("heron", "egret"), ("heron", "crane")):
        with session_factory.begin() as session:
            task = make_task(
                session,
                blobs,
                classes=classes,
                mode="extend",
                n_train=4,
                n_eval=2,
                config=CONFIG,
            )
        assert attempt(task.id).status == "succeeded"
    return learner


CONFIG = {"bottleneck": 4, "epochs": 1, "pooling": "backbone"}


@pytest.fixture
def add(session_factory):
    """A function that queues a correction."""

    def run(changes=None, undo=None):
        with session_factory.begin() as session:
            return tasks.add_correction(session, "birds", name=None, changes=changes, undo=undo).id

    return run


def named(session_factory, filename, task=1):
    with session_factory() as session:
        query = session.query(SampleRow).join(TaskRow, TaskRow.id == SampleRow.task_id)
        return query.filter(SampleRow.filename == filename, TaskRow.index == task).one().id


def version(session_factory, learner, number):
    with session_factory() as session:
        return versions.get_version(session, learner.id, number)


def test_it_is_published_as_one_that_was_taught_so_and_undone_as_it_was(
    session_factory, blobs, tiny_backbone, learner, add, attempt
):
    moved, removed = (named(session_factory, f"heron-{i}.png") for i in (1, 2))
    held_out = named(session_factory, "heron-4.png")

    task = attempt(add([(moved, "crane"), (removed, None), (held_out, "egret")]))

    assert (task.status, task.error, task.version) == ("succeeded", None, 3)
    corrected = version(session_factory, learner, 3)
    done = corrected.metrics["correction"]
    assert (done["n_moved"], done["n_removed"], done["n_held_out"]) == (1, 1, 1)
    assert done["exact"]
    assert done["classes"] == {"1": ["heron", "egret", "crane"]}
    assert (corrected.parent, corrected.tasks) == (2, [1, 2])
    assert corrected.classes == ["heron", "egret", "crane"]
    # The held-out image counts for the class that it shows now, in the very version.
    heron, egret = (
        sum(corrected.metrics["confusion"]["1"][of].values()) for of in ("heron", "egret")
    )
    left_out = corrected.metrics["cross_validated"]["1"]
    assert (heron - left_out["heron"], egret - left_out["egret"]) == (1, 3)
    strategy = artifact.load(blobs.get(corrected.manifest_sha256), blobs.get, tiny_backbone)
    assert strategy.shown.counts.tolist() == [6, 4, 5]

    undone = attempt(add(undo=task.id))

    assert undone.version == 4
    before, after = (
        artifact.load(
            blobs.get(version(session_factory, learner, n).manifest_sha256),
            blobs.get,
            tiny_backbone,
        )
        for n in (2, 4)
    )
    assert after.shown.counts.tolist() == before.shown.counts.tolist()
    assert (after.shown.means - before.shown.means).abs().max() < 1e-5
    assert (after.shown.rows - before.shown.rows).abs().max() < 1e-3
    assert (
        version(session_factory, learner, 4).metrics["confusion"]
        == (version(session_factory, learner, 2).metrics["confusion"])
    )


def test_held_out_images_alone_change_what_is_measured_and_nothing_that_is_learned(
    session_factory, learner, add, attempt
):
    held_out = named(session_factory, "heron-4.png")
    task = attempt(add([(held_out, None)]))
    assert task.version == 3
    two, three = (version(session_factory, learner, n) for n in (2, 3))
    assert three.manifest_sha256 == two.manifest_sha256
    assert three.metrics["correction"]["n_held_out"] == 1
    assert attempt(add(undo=task.id)).version == 4
    assert version(session_factory, learner, 4).metrics["confusion"] == two.metrics["confusion"]


@pytest.mark.parametrize(
    "place", ["learn.loaded", "learn.learned", "publish.after_blobs", "publish.before_commit"]
)
def test_what_fails_on_the_way_changes_nothing(
    session_factory, learner, add, attempt, monkeypatch, tmp_path, place
):
    moved = named(session_factory, "heron-1.png")
    task_id = add([(moved, "crane")])
    monkeypatch.setenv("FILOPODIA_FAILPOINTS", str(tmp_path))
    (tmp_path / place).write_text("full")
    assert attempt(task_id).status == "queued"
    with session_factory.begin() as session:
        assert learners.live_version(session, learner.id) == 2
        assert samples.get_sample(session, moved).label == "heron"
        tasks.get_task(session, task_id).not_before = None
    assert attempt(task_id).version == 3
    with session_factory() as session:
        assert samples.get_sample(session, moved).label == "crane"


def test_what_was_deleted_while_it_waited_fails_with_a_sentence(
    session_factory, learner, add, attempt
):
    moved = named(session_factory, "heron-1.png")
    task_id = add([(moved, "crane")])
    with session_factory.begin() as session:
        [task] = session.query(TaskRow).filter_by(index=1)
        samples.drop_samples(session, task.id)
    task = attempt(task_id)
    assert (task.status, task.error["code"]) == ("failed", "cannot-correct")
    assert "deleted meanwhile" in task.error["detail"]
    with session_factory() as session:
        assert learners.live_version(session, learner.id) == 2


def test_how_it_fails():
    sorted_error = sort_error(CorrectionError("It cannot be told."))
    assert isinstance(sorted_error, PermanentTaskError)
    assert (sorted_error.code, sorted_error.detail) == ("cannot-correct", "It cannot be told.")


def pending(session_factory, learner):
    with session_factory() as session:
        return consolidations.pending(session, learner.id)


def test_what_waits_is_consolidated_as_it_was_corrected_and_what_was_keeps_a_trace(
    session_factory, blobs, tiny_backbone, add, attempt
):
    """And unlearning the class that an image was moved to takes it along."""
    config = {**CONFIG, "adapt": "always", "least_steps": 3}
    with session_factory.begin() as session:
        learner = make_learner(session, strategy="artsy", config=config)
        task = make_task(session, blobs, n_train=5, n_eval=1, config=config)
    attempt(task.id)
    with session_factory.begin() as session:
        consolidations.request(session, "birds", schedule=Schedule.parse("by_hand"))
    waiting = pending(session_factory, learner)
    first, second = (named(session_factory, f"heron-{i}.png") for i in (1, 2))

    corrected = attempt(add([(first, "egret")]))

    assert (corrected.status, corrected.version) == ("succeeded", 2)
    assert version(session_factory, learner, 2).unconsolidated == [1]
    consolidated = attempt(waiting.id)
    assert (consolidated.status, consolidated.error) == ("succeeded", None)
    strategy = load(session_factory, blobs, tiny_backbone, learner, 3)
    [made] = strategy.history.consolidations.values()
    assert made.records[1].counts.tolist() == [4, 6]

    later = attempt(add([(second, "egret")]))

    assert (later.status, later.error) == ("succeeded", None)
    done = version(session_factory, learner, later.version).metrics["correction"]
    assert (done["exact"], "trained while" in done["residue"]) == (False, True)
    strategy = load(session_factory, blobs, tiny_backbone, learner, later.version)
    assert strategy.shown.counts.tolist() == [3, 7]
    assert strategy.unconsolidated_ == ()
    with session_factory.begin() as session:
        unlearning = tasks.add_unlearning(
            session,
            "birds",
            name=None,
            tasks=[],
            classes=["egret"],
            options={},
            needs_images=False,
        )
    gone = attempt(unlearning.id)
    assert (gone.status, gone.error) == ("succeeded", None)
    strategy = load(session_factory, blobs, tiny_backbone, learner, gone.version)
    assert (strategy.classes_, strategy.shown.counts.tolist()) == (("heron",), [3])
    with session_factory() as session:
        left = {row.filename for row in session.query(SampleRow)}
        erased = [versions.get_version(session, learner.id, n).erased_at for n in (1, 2, 3)]
    assert {"heron-0.png", "heron-3.png"} <= left
    assert not left & {"heron-1.png", "heron-2.png", "egret-0.png"}
    assert all(erased)


def load(session_factory, blobs, backbone, learner, number):
    manifest = version(session_factory, learner, number).manifest_sha256
    return artifact.load(blobs.get(manifest), blobs.get, backbone)

"""Attempts at consolidations, done in this process: what is trained on, what is published, what is declined."""

import pytest
from structlog.testing import capture_logs

from models import artifact
from models.strategies import catalog
from registry import consolidations, learners, queue, samples, tasks, versions
from registry.tables import CONSOLIDATE
from tests.factories import make_learner, make_task
from tests.worker.consolidating import Consolidating
from worker import consolidate
from worker.attempts import run_attempt
from worker.consolidate import NOTHING_WAITS
from worker.settings import WorkerSettings


@pytest.fixture(autouse=True)
def known_strategy(monkeypatch):
    monkeypatch.setattr(catalog, "CATALOG", (*catalog.CATALOG, Consolidating))


@pytest.fixture
def settings(database_url, tmp_path):
    return WorkerSettings(
        data_dir=tmp_path,
        database_url=database_url,
        device="cpu",
        progress_s=0,
        checkpoint_s=1e-6,
        consolidate="at_once",
    )


@pytest.fixture
def learn(session_factory, blobs, attempt):
    """A function that has a task learned, and returns its row; makes the learner the first time."""

    def run(*classes, strategy="consolidating", options=None, n_eval=2, **config):
        with session_factory.begin() as session:
            if not learners.list_learners(session).items:
                make_learner(session, strategy=strategy, config=config)
            task = make_task(
                session,
                blobs,
                classes=classes,
                config=config,
                options=options or {},
                mode="extend",
                n_train=4,
                n_eval=n_eval,
            )
        learned = attempt(task.id)
        assert learned.status == "succeeded", learned.error
        return learned

    return run


@pytest.fixture
def pending(session_factory):
    def find():
        with session_factory() as session:
            return consolidations.pending(session, learners.get_learner(session, "birds").id)

    return find


@pytest.fixture
def version(session_factory):
    def get(number):
        with session_factory() as session:
            learner = learners.get_learner(session, "birds")
            return versions.get_version(session, learner.id, number)

    return get


def load(blobs, backbone, version):
    return artifact.load(blobs.get(version.manifest_sha256), blobs.get, backbone)


def test_learned_at_once_and_consolidated_later(
    blobs, tiny_backbone, learn, attempt, pending, version
):
    learn("heron", "egret")
    learn("ibis")
    assert [(version(n).stage, version(n).unconsolidated) for n in (1, 2)] == [
        ("learned", [1]),
        ("learned", [1, 2]),
    ]
    task = attempt(pending().id)
    assert (task.status, task.version, task.error) == ("succeeded", 3, None)
    assert (task.result["adopted"], task.result["tasks"], task.result["n_images"]) == (
        True,
        [1, 2],
        12,
    )
    made = version(3)
    assert (made.stage, made.unconsolidated, made.parent) == ("consolidated", [], 2)
    assert (made.tasks, made.classes) == ([1, 2], ["heron", "egret", "ibis"])
    assert made.metrics["consolidation"] == task.result
    assert set(made.metrics["confusion"]) == {"1", "2"}
    assert "training" in made.metrics["seconds"]
    before, after = (load(blobs, tiny_backbone, version(n)) for n in (2, 3))
    assert before.unconsolidated_ == (1, 2)
    assert after.unconsolidated_ == ()
    assert not after.scaling.equal(before.scaling)
    assert pending() is None


def test_declined_with_its_numbers(learn, attempt, pending, version, session_factory):
    learn("heron", "egret", adopts=False)
    task = attempt(pending().id)
    assert (task.status, task.version) == ("declined", None)
    assert task.result["reason"] == "The answers do not get better."
    assert task.result["details"]["gain"] == -0.1
    with session_factory() as session:
        assert learners.get_learner(session, "birds").head_version == 1
        assert versions.find_live_version(session, "birds").version == 1
    assert pending() is None


def test_forgetting_declines_it(learn, attempt, pending, session_factory):
    learn("heron", "egret", options={"max_forgetting": 0.1}, harms=True)
    task = attempt(pending().id)
    assert (task.status, task.version) == ("declined", None)
    assert task.result["adopted"] is False
    assert "forgetting to 1.000" in task.result["reason"]
    assert "publish it by hand" not in task.result["reason"]
    assert task.result["details"]["gain"] == 0.1
    with session_factory() as session:
        assert learners.get_learner(session, "birds").head_version == 1


def test_harm_declines_it_and_is_noted(learn, attempt, pending, version):
    # As many images as it takes to be sure of.
    learn("heron", "egret", options={"screening": "hold"}, n_eval=20, harms=True)
    task = attempt(pending().id)
    assert (task.status, task.version) == ("declined", None)
    assert [finding["code"] for finding in task.findings] == ["harms-known"]
    assert task.result["reason"] == task.findings[0]["detail"]
    assert version(1).unconsolidated == [1]


def test_bounds_are_the_strictest_of_its_tasks(learn, attempt, pending):
    learn("heron", options={"max_forgetting": 0.5, "screening": "warn"})
    learn("egret", options={"max_forgetting": 0.2, "screening": "off"})
    learn("ibis")
    task = attempt(pending().id)
    assert (task.options["max_forgetting"], task.options["screening"]) == (0.2, "warn")
    assert task.status == "succeeded"


def test_images_that_were_deleted_are_done_without(
    session_factory, blobs, learn, attempt, pending, version
):
    first = learn("heron", "egret")
    learn("ibis", "crane")
    drop(session_factory, blobs, first)
    task = attempt(pending().id)
    assert (task.status, task.result["tasks"]) == ("succeeded", [2])
    assert version(3).unconsolidated == [1]
    # What waits without images waits for nothing.
    assert pending() is None


def drop(session_factory, blobs, task):
    with session_factory.begin() as session:
        gone = samples.drop_samples(session, task.id)
    with session_factory.begin() as session:
        samples.delete_unreferenced(session, blobs, gone)


def test_without_any_image_it_is_declined(session_factory, blobs, learn, attempt, pending):
    drop(session_factory, blobs, learn("heron", "egret"))
    task = attempt(pending().id)
    assert (task.status, task.result["reason"]) == ("declined", NOTHING_WAITS)


def test_images_deleted_while_they_are_read(
    session_factory, blobs, settings, learn, pending, monkeypatch
):
    first = learn("heron", "egret")
    learn("ibis", "crane")
    with session_factory.begin() as session:
        claimed = queue.claim_next(session, "w", 30)

    def drop_then_load(*arguments):
        monkeypatch.undo()
        monkeypatch.setattr(catalog, "CATALOG", (*catalog.CATALOG, Consolidating))
        drop(session_factory, blobs, first)
        return consolidate.load_images(*arguments)

    monkeypatch.setattr(consolidate, "load_images", drop_then_load)
    run_attempt(
        claimed.id, claimed.token, session_factory=session_factory, blobs=blobs, settings=settings
    )
    task = pending()
    assert (task.status, task.error["code"]) == ("queued", "internal")
    assert "goes on without" in task.error["detail"]


def test_an_image_that_is_damaged_fails_it(session_factory, blobs, learn, attempt, pending):
    first = learn("heron", "egret")
    with session_factory() as session:
        sample = samples.task_samples(session, first.id, "train")[0]
    blobs.delete(sample.blob_sha256)
    task = attempt(pending().id)
    assert (task.status, task.error["code"]) == ("failed", "data-unreadable")


def test_what_was_unlearned_is_not_trained_on(session_factory, learn, attempt, pending, version):
    learn("heron", "egret")
    learn("ibis", "crane")
    with session_factory.begin() as session:
        unlearning = tasks.add_unlearning(
            session,
            "birds",
            name=None,
            tasks=[1],
            classes=["crane"],
            options={},
            needs_images=False,
        )
    assert attempt(unlearning.id).status == "succeeded"
    assert (version(3).stage, version(3).unconsolidated) == ("learned", [2])
    task = attempt(pending().id)
    assert (task.result["tasks"], task.result["n_images"]) == ([2], 4)
    assert version(4).classes == ["ibis"]


def test_nothing_waits_once_it_was_unlearned(session_factory, learn, attempt, pending, version):
    learn("heron", "egret")
    attempt(pending().id)
    learn("ibis")
    with session_factory.begin() as session:
        unlearning = tasks.add_unlearning(
            session, "birds", name=None, tasks=[2], classes=[], options={}, needs_images=False
        )
    attempt(unlearning.id)
    # All that it knows has been consolidated.
    assert (version(4).stage, version(4).unconsolidated) == ("consolidated", [])
    task = attempt(pending().id)
    assert (task.status, task.result["reason"]) == ("declined", NOTHING_WAITS)


def test_after_a_rollback_it_is_of_what_the_head_waits_for(
    session_factory, learn, attempt, pending, version
):
    learn("heron", "egret")
    learn("ibis")
    with session_factory.begin() as session:
        learner = learners.get_learner(session, "birds")
        versions.move_head(session, learner.id, 1)
        learners.set_alias(session, learner.id, 1)
    task = attempt(pending().id)
    assert (task.status, task.result["tasks"]) == ("succeeded", [1])
    assert (version(3).parent, version(3).classes) == (1, ["heron", "egret"])


@pytest.mark.parametrize("place", ["learn.loaded", "learn.learned", "publish.before_commit"])
def test_what_fails_on_the_way_changes_nothing(
    session_factory, learn, attempt, pending, monkeypatch, tmp_path, place
):
    learn("heron", "egret")
    monkeypatch.setenv("FILOPODIA_FAILPOINTS", str(tmp_path))
    (tmp_path / place).write_text("full")
    waiting = pending()
    assert attempt(waiting.id).status == "queued"
    with session_factory.begin() as session:
        assert learners.get_learner(session, "birds").head_version == 1
        tasks.get_task(session, waiting.id).not_before = None
    assert attempt(waiting.id).version == 2


@pytest.fixture
def put_down_after_training(session_factory, learn, attempt, pending, monkeypatch, tmp_path):
    """A function that breaks a consolidation of task 1 off after its training, and has task 2 learned meanwhile."""

    def run(**given):
        first = learn("heron", "egret", **given)
        monkeypatch.setenv("FILOPODIA_FAILPOINTS", str(tmp_path))
        (tmp_path / "learn.learned").write_text("full")
        assert attempt(pending().id).checkpoint is not None
        learn("ibis", "crane", **given)
        with session_factory.begin() as session:
            tasks.get_task(session, pending().id).not_before = None
        return first

    return run


@pytest.fixture
def put_down(put_down_after_training):
    return put_down_after_training()


@pytest.mark.parametrize("augmentation", ["none", "crop"])
def test_artsy_goes_on_with_all_the_sections_of_its_trial(
    put_down_after_training, attempt, pending, augmentation
):
    put_down_after_training(
        strategy="artsy", adapt="always", epochs=1, least_steps=2, augmentation=augmentation
    )
    with capture_logs() as logged:
        task = attempt(pending().id)
    [found] = [entry for entry in logged if entry["event"] == "checkpoint_found"]
    assert found["n_sections"] >= 2
    assert "checkpoint_ignored" not in [entry["event"] for entry in logged]
    assert task.status in ("succeeded", "declined"), task.error
    assert task.result["tasks"] == [1]


def test_artsy_keeps_the_shapes_that_it_began_with(learn, attempt, pending, version):
    """A task may ask for others for itself, but what is there already has its own."""
    quick = {"adapt": "always", "epochs": 1, "least_steps": 2}
    began = {"bottleneck": 16, "pooling": "backbone"}
    learn("heron", "egret", strategy="artsy", **quick, **began)
    assert attempt(pending().id).status == "succeeded"
    usual = {"bottleneck": 64, "pooling": "token_and_patches"}
    learn("ibis", "crane", **quick, **usual)
    task = attempt(pending().id)
    assert (task.status, task.result["tasks"]) == ("succeeded", [2])
    assert all(version(n).config.items() >= began.items() for n in range(1, 5))


def test_it_goes_on_from_its_checkpoint_on_another_head(put_down, attempt, pending, version):
    with capture_logs() as logged:
        task = attempt(pending().id)
    assert "checkpoint_found" in [entry["event"] for entry in logged]
    assert (task.status, task.result["tasks"]) == ("succeeded", [1])
    assert (version(3).parent, version(3).unconsolidated) == (2, [2])
    assert version(3).classes == ["heron", "egret", "ibis", "crane"]


def test_a_checkpoint_of_images_that_are_gone_is_ignored(
    session_factory, blobs, put_down, attempt, pending, version
):
    drop(session_factory, blobs, put_down)
    with capture_logs() as logged:
        task = attempt(pending().id)
    assert "checkpoint_ignored" in [entry["event"] for entry in logged]
    assert (task.status, task.result["tasks"]) == ("succeeded", [2])


def test_a_checkpoint_of_other_features_is_ignored(put_down, attempt, pending, monkeypatch):
    monkeypatch.setattr(Consolidating, "fingerprint_of_features", lambda self: "others")
    with capture_logs() as logged:
        task = attempt(pending().id)
    assert "checkpoint_ignored" in [entry["event"] for entry in logged]
    assert (task.status, task.result["tasks"]) == ("succeeded", [1])


def test_a_strategy_that_trains_as_it_learns_has_one_stage(
    session_factory, blobs, attempt, pending, version
):
    with session_factory.begin() as session:
        make_learner(session)
        task_id = make_task(session, blobs, n_train=2, n_eval=1).id
    attempt(task_id)
    assert (version(1).stage, version(1).unconsolidated) == ("learned", [])
    with session_factory() as session:
        assert tasks.list_tasks(session, mode=CONSOLIDATE).items == []

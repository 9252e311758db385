import hashlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from models import artifact
from models.strategies import catalog
from registry import accuracy, events, learners, queue, samples, tasks, versions
from tests.factories import make_learner, make_pixels, make_task
from tests.models.strategies.leaving_out import LeavingOut
from tests.waiting import wait_until
from worker.attempt import AttemptContext
from worker.attempts import EXIT_SETTLED, EXIT_UNSETTLED, make_attempt, run_attempt
from worker.settings import WorkerSettings
from worker.warm import Warm


@pytest.fixture
def settings(database_url, tmp_path):
    return WorkerSettings(data_dir=tmp_path, database_url=database_url, device="cpu", progress_s=0)


@pytest.fixture
def attempt(session_factory, blobs, settings):
    """A function that claims a task and learns it here, and returns exit code and row."""

    def run(task_id, token=None):
        with session_factory.begin() as session:
            claimed = queue.claim(session, task_id, "w", 30)
        code = run_attempt(
            task_id,
            token or claimed.token,
            session_factory=session_factory,
            blobs=blobs,
            settings=settings,
        )
        with session_factory() as session:
            return code, tasks.get_task(session, task_id)

    return run


@pytest.fixture
def add(session_factory, blobs):
    """A function that queues a task."""

    def run(*classes, **task):
        with session_factory.begin() as session:
            return make_task(session, blobs, classes=classes, **task).id

    return run


@pytest.fixture
def learner(session_factory):
    with session_factory.begin() as session:
        return make_learner(session)


def test_learns_task_after_task_and_still_knows_the_first(
    session_factory, blobs, tiny_backbone, learner, add, attempt
):
    for classes in (("heron", "egret"), ("crane", "stork"), ("ibis",)):
        code, task = attempt(add(*classes))
        assert (code, task.status, task.error) == (EXIT_SETTLED, "succeeded", None)
    with session_factory() as session:
        version = versions.get_version(session, learner.id, 3)
        history = accuracy.history(session, learner.id)
        known = learners.class_table(session, learner)
        types = [event.type for event in events.list_events(session, task.id)]
    assert version.classes == ["heron", "egret", "crane", "stork", "ibis"]
    assert (version.number, version.parent, version.task_index) == (3, 2, 3)
    assert version.backbone_fingerprint == tiny_backbone.fingerprint
    assert {"python", "torch", "timm", "filopodia"} <= set(version.code_versions)
    assert set(version.metrics) == {"learning", "seconds", "confusion", "routing"}
    assert set(version.metrics["confusion"]) == {"1", "2", "3"}
    assert version.metrics["routing"] == {"1": {}, "2": {}, "3": {}}
    assert history.n == [[6, 0, 0], [6, 6, 0], [6, 6, 3]]
    assert history.last > 0.8
    assert [info.task_index for info in known] == [1, 1, 2, 2, 3]
    assert types[-3:] == ["evaluated", "published", "end"]

    manifest = blobs.get(version.manifest_sha256)
    strategy = artifact.load(manifest, blobs.get, tiny_backbone)
    image = tiny_backbone.preprocess(make_pixels("heron", 99))[None]
    answer = strategy.predict(image).probabilities.argmax().item()
    assert strategy.classes_[answer] == "heron"
    assert version.size_bytes >= len(manifest)
    assert json.loads(manifest)["task_indexes"] == [1, 2, 3]


def test_images_left_out_in_turn_measure_what_holds_nothing_out(
    session_factory, add, attempt, monkeypatch
):
    monkeypatch.setattr(catalog, "CATALOG", (*catalog.CATALOG, LeavingOut))
    with session_factory.begin() as session:
        learner = make_learner(session, strategy=LeavingOut.name)
    for classes, n_eval in ((("heron", "egret"), 2), (("crane",), 0)):
        code, task = attempt(add(*classes, n_eval=n_eval))
        assert (code, task.status, task.error) == (EXIT_SETTLED, "succeeded", None)
    with session_factory() as session:
        version = versions.get_version(session, learner.id, 2)
        history = accuracy.history(session, learner.id)
        told = [event.data for event in events.list_events(session, task.id, limit=1000)]
    # Six images to learn from each class, and two held out of the first two.
    assert history.n == [[16, 0], [16, 6]]
    assert history.n_cross_validated == [[12, 0], [12, 6]]
    assert history.matrix[1][1] == 1.0
    assert history.passes == [1.0, 1.0]
    assert version.metrics["cross_validated"] == {"1": {"heron": 6, "egret": 6}, "2": {"crane": 6}}
    assert sum(version.metrics["confusion"]["1"]["heron"].values()) == 8
    assert set(version.metrics["routing"]) == {"1"}
    [cells] = [data["accuracies"] for data in told if "accuracies" in data]
    assert [(cell["n"], cell["n_cross_validated"]) for cell in cells] == [(16, 12), (6, 6)]


def test_needs_no_image_of_earlier_tasks(session_factory, learner, add, attempt):
    first = add("heron", "egret")
    attempt(first)
    with session_factory.begin() as session:
        samples.drop_samples(session, first)
    _, task = attempt(add("crane"))
    assert task.status == "succeeded"
    with session_factory() as session:
        # Task 1 can no longer be evaluated.
        assert accuracy.history(session, learner.id).matrix[1] == [None, 1.0]


def test_the_same_images_and_seed_give_the_same_artifact(session_factory, learner, add, attempt):
    with session_factory.begin() as session:
        make_learner(session, "twins")
    for name in ("birds", "twins"):
        attempt(add("heron", "egret", learner_name=name, seed=7))
    with session_factory() as session:
        live = versions.live_versions(session)
    assert len(live) == 2
    # So an attempt that is repeated after a crash writes nothing new.
    assert len({version.manifest_sha256 for version in live}) == 1


@pytest.mark.parametrize("strategy", ["artsy", "simplecil"])
def test_the_next_task_goes_on_from_what_was_published_but_not_after_an_unlearning(
    session_factory, blobs, settings, add, strategy, monkeypatch
):
    context = AttemptContext(session_factory, blobs, settings, threading.Event(), Warm(settings))
    loaded = []
    load = artifact.load

    def counting(manifest, *rest):
        loaded.append(hashlib.sha256(manifest).hexdigest())
        return load(manifest, *rest)

    monkeypatch.setattr("models.artifact.load", counting)
    with session_factory.begin() as session:
        make_learner(session, strategy=strategy)

    def learn(task_id):
        with session_factory.begin() as session:
            claimed = queue.claim(session, task_id, "w", 30)
        assert make_attempt(task_id, claimed.token, context).well
        with session_factory() as session:
            return tasks.get_task(session, task_id).status

    for classes in (("heron", "egret"), ("crane",), ("ibis",)):
        assert learn(add(*classes)) == "succeeded"
    assert loaded == []
    with session_factory.begin() as session:
        unlearning = tasks.add_unlearning(
            session, "birds", name=None, tasks=[2], classes=(), options={}, needs_images=False
        ).id
    assert learn(unlearning) == "succeeded"
    loaded.clear()
    assert learn(add("stork")) == "succeeded"
    with session_factory() as session:
        (live,) = versions.live_versions(session)
        before = versions.get_version(session, live.learner_id, live.version - 1)
    assert loaded == [before.manifest_sha256]


def test_what_earlier_tasks_left_is_written_again_where_it_was_lost(
    session_factory, blobs, settings, learner, add, tiny_backbone
):
    context = AttemptContext(session_factory, blobs, settings, threading.Event(), Warm(settings))

    def learn(task_id):
        with session_factory.begin() as session:
            claimed = queue.claim(session, task_id, "w", 30)
        assert make_attempt(task_id, claimed.token, context).well
        with session_factory() as session:
            (live,) = versions.live_versions(session)
        return json.loads(blobs.get(live.manifest_sha256))["files"]

    first = learn(add("heron", "egret"))["task-0001.safetensors"]
    put, written = type(blobs).put_many, []

    def noting(self, data):
        data = list(data)
        written.extend(hashlib.sha256(one).hexdigest() for one in data)
        return put(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(blobs), "put_many", noting)
        assert learn(add("crane"))["task-0001.safetensors"] == first
        assert first["sha256"] not in written
        blobs.delete(first["sha256"])
        files = learn(add("ibis"))

    assert first["sha256"] in written
    assert not blobs.missing(file["sha256"] for file in files.values())


def test_a_task_that_breaks_max_forgetting_is_held(session_factory, learner, add, attempt):
    for classes in (("heron", "egret"), ("crane",)):
        assert attempt(add(*classes, options={"max_forgetting": 1.0}))[1].status == "succeeded"
    # Even forgetting nothing is above this bound.
    code, task = attempt(add("stork", options={"max_forgetting": -1.0}))
    assert (code, task.status, task.error["code"]) == (EXIT_SETTLED, "held", "held")
    assert "-1.000" in task.error["detail"]
    with session_factory.begin() as session:
        assert learners.live_version(session, learner.id) == 2
        assert versions.publish_held(session, task.id).number == 3


def test_what_was_learned_waits_for_a_database_that_is_busy(session_factory, learner, add, attempt):
    task_id = add("heron", "egret")

    def progress():
        with session_factory() as session:
            task = tasks.get_task(session, task_id)
            return task.status, task.progress["phase"]

    with ThreadPoolExecutor(1) as pool:
        learning = pool.submit(attempt, task_id)
        wait_until(lambda: progress()[0] == "running")
        with session_factory.begin() as session:
            learners.get_learner(session, "birds", lock=True)
            wait_until(lambda: progress()[1] == "publishing" or learning.done())
            assert not learning.done(), "it was published in spite of the lock, or before it"
            # Longer than any statement waits for a lock.
            time.sleep(2.5)
        code, task = learning.result()
    assert (code, task.status, task.attempt) == (EXIT_SETTLED, "succeeded", 1)


def test_a_stale_token_publishes_nothing(session_factory, learner, add, attempt):
    code, task = attempt(add("heron"), token=99)
    assert (code, task.status, task.version) == (EXIT_UNSETTLED, "running", None)


@pytest.mark.parametrize(
    "place",
    [
        "learn.loaded",
        "learn.learned",
        "learn.evaluated",
        "publish.after_blobs",
        "publish.before_commit",
    ],
)
def test_a_full_disk_at_any_moment_is_a_reason_to_try_again(
    session_factory, learner, add, attempt, monkeypatch, tmp_path, place
):
    task_id = add("heron", "egret")
    monkeypatch.setenv("FILOPODIA_FAILPOINTS", str(tmp_path))
    (tmp_path / place).write_text("full")
    _, task = attempt(task_id)
    assert (task.status, task.error["code"]) == ("queued", "internal")
    assert "No space left" in task.error["detail"]
    with session_factory.begin() as session:
        assert learners.live_version(session, learner.id) == 0
        tasks.get_task(session, task_id).not_before = None
    _, task = attempt(task_id)
    assert (task.status, task.version, task.attempt) == ("succeeded", 1, 2)


def test_what_fails_after_the_publication_changes_nothing(
    learner, add, attempt, monkeypatch, tmp_path
):
    task_id = add("heron", "egret")
    monkeypatch.setenv("FILOPODIA_FAILPOINTS", str(tmp_path))
    (tmp_path / "publish.after_commit").write_text("full")
    code, task = attempt(task_id)
    assert (code, task.status, task.version) == (EXIT_UNSETTLED, "succeeded", 1)


def test_a_missing_image_fails_by_name(session_factory, blobs, learner, add, attempt):
    task_id = add("heron")
    with session_factory() as session:
        sample = samples.task_samples(session, task_id, "train")[0]
    blobs.delete(sample.blob_sha256)
    code, task = attempt(task_id)
    assert (code, task.status, task.error["code"]) == (EXIT_SETTLED, "failed", "data-unreadable")
    assert sample.id in task.error["detail"]


def test_a_damaged_parent_fails_and_serves_on(session_factory, blobs, learner, add, attempt):
    attempt(add("heron", "egret"))
    with session_factory() as session:
        blobs.delete(versions.get_version(session, learner.id, 1).manifest_sha256)
    _, task = attempt(add("crane"))
    assert (task.status, task.error["code"]) == ("failed", "data-unreadable")
    with session_factory() as session:
        assert learners.live_version(session, learner.id) == 1


def test_a_config_that_does_not_fit_fails_with_a_sentence(learner, add, attempt):
    _, task = attempt(add("heron", config={"nonsense": 1}))
    assert (task.status, task.error["code"]) == ("failed", "internal")
    assert "does not fit" in task.error["detail"]


def test_a_cancelled_task_leaves_a_gap(session_factory, learner, add, attempt):
    cancelled = add("stork")
    with session_factory.begin() as session:
        tasks.request_cancel(session, cancelled)
    _, task = attempt(add("heron", "egret"))
    with session_factory() as session:
        assert accuracy.history(session, learner.id).tasks == [2]
    assert task.status == "succeeded"

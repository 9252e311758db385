import threading

import numpy as np
import pytest

from models.backbone import Backbone
from registry import events, learners, queue, samples, tasks, versions
from registry.errors import TaskNotRetryableError
from registry.samples import NewSample
from tests.factories import make_image, make_learner, make_task
from worker.attempt import AttemptContext
from worker.attempts import make_attempt
from worker.settings import WorkerSettings
from worker.warm import Warm

LABELS = ("heron", "egret", "crane", "ibis")
HOLD = {"screening": "hold"}


@pytest.fixture
def settings(database_url, tmp_path):
    return WorkerSettings(data_dir=tmp_path, database_url=database_url, device="cpu")


@pytest.fixture
def add(session_factory, blobs):
    """A function that queues a task whose images show `shown` and are labelled `labels`; 10 % are held out."""

    def run(labels, shown, options=HOLD, mode="new_classes"):
        hashes = blobs.put_many(make_image(label, i) for i, label in enumerate(shown))
        with session_factory.begin() as session:
            task = make_task(
                session,
                blobs,
                classes=tuple(dict.fromkeys(labels)),
                n_train=0,
                n_eval=0,
                options=options,
                mode=mode,
            )
            new = [
                NewSample(label, "eval" if i % 10 == 0 else "train", sha256, None, 32, 32)
                for i, (label, sha256) in enumerate(zip(labels, hashes, strict=True))
            ]
            samples.add_samples(session, task.id, new, blobs)
            return task.id

    return run


@pytest.fixture
def learner(session_factory):
    with session_factory.begin() as session:
        return make_learner(session)


def honest(labels=LABELS, n=20):
    return [label for label in labels for _ in range(n)]


def poisoned():
    labels = honest()
    return [str(label) for label in np.random.default_rng(0).permutation(labels)]


def test_an_honest_task_is_learned(learner, add, attempt):
    task = attempt(add(honest(), honest()))
    assert (task.status, task.findings, task.error) == ("succeeded", [], None)


def test_shuffled_labels_are_held_before_anything_is_learned(
    session_factory, learner, add, attempt
):
    task = attempt(add(poisoned(), honest()))
    assert (task.status, task.version, task.pending_version) == ("held", None, None)
    [finding] = task.findings
    assert (finding["code"], finding["holds"]) == ("labels-disagree", True)
    assert finding["detail"] in task.error["detail"]
    with session_factory() as session:
        assert learners.get_learner_by_id(session, learner.id).head_version == 0
        kinds = [event.type for event in events.list_events(session, task.id)]
    assert kinds[-2:] == ["findings", "end"]
    assert "training" not in task.progress["phase"]


def test_a_held_task_lets_the_next_one_pass_and_is_learned_when_published(
    session_factory, learner, add, attempt
):
    held = attempt(add(poisoned(), honest()))
    assert attempt(add(honest(("owl", "wren")), honest(("owl", "wren")))).version == 1
    with session_factory.begin() as session:
        assert versions.publish_held(session, held.id) is None
        assert tasks.get_task(session, held.id).status == "queued"
    task = attempt(held.id)
    # On top of what was learned meanwhile; what was found stays on the record.
    assert (task.status, task.version, task.error) == ("succeeded", 2, None)
    assert [finding["code"] for finding in task.findings] == ["labels-disagree"]
    with session_factory() as session:
        known = versions.get_version(session, learner.id, 2).classes
    assert known[:2] == ["owl", "wren"]
    assert set(known[2:]) == set(LABELS)


def test_a_held_task_is_cancelled_in_one_call(session_factory, learner, add, attempt):
    held = attempt(add(poisoned(), honest()))
    with session_factory.begin() as session:
        assert tasks.request_cancel(session, held.id).status == "cancelled"
    # Its labels are free again.
    assert attempt(add(honest(), honest())).status == "succeeded"


def test_a_held_task_without_images_cannot_be_learned_any_more(
    session_factory, learner, add, attempt
):
    held = attempt(add(poisoned(), honest()))
    with session_factory.begin() as session:
        samples.drop_samples(session, held.id)
    with session_factory.begin() as session, pytest.raises(TaskNotRetryableError):
        versions.publish_held(session, held.id)


@pytest.mark.parametrize(
    ("options", "codes"), [({"screening": "warn"}, ["labels-disagree"]), ({"screening": "off"}, [])]
)
def test_screening_may_only_warn_or_be_off(learner, add, attempt, options, codes):
    task = attempt(add(poisoned(), honest(), options))
    assert task.status == "succeeded"
    assert [finding["code"] for finding in task.findings] == codes


def test_a_task_takes_one_pass_however_much_is_known(
    session_factory, blobs, settings, add, monkeypatch
):
    with session_factory.begin() as session:
        make_learner(session, strategy="artsy")
    embedded = []
    begin = Backbone.begin

    def noted(self, images, adapter, block):
        embedded.append(len(images))
        return begin(self, images, adapter, block)

    warm = Warm(settings)
    for i, labels in enumerate((("heron", "egret"), ("crane", "ibis"), ("owl", "wren"))):
        # Like all that is known, so that there is something to compare with.
        task_id = add(honest(labels), honest(("heron", "crane")), {"screening": "warn"})
        with session_factory.begin() as session:
            claimed = queue.claim(session, task_id, "w", 30)
        context = AttemptContext(session_factory, blobs, settings, threading.Event(), warm)
        if i:  # the first embeds pictures of nothing too
            embedded.clear()
            monkeypatch.setattr(Backbone, "begin", noted)
        assert make_attempt(task_id, claimed.token, context).well
        with session_factory() as session:
            found = tasks.get_task(session, task_id).findings
        assert not i or "copies" in [finding["code"] for finding in found]
        assert not i or sum(embedded) == 40


def test_a_known_class_under_a_new_name_is_held(session_factory, learner, add, attempt):
    assert attempt(add(honest(n=70), honest(n=70))).status == "succeeded"
    labels = honest(("owl", "wren"), 100)
    shown = ["owl"] * 100 + ["crane"] * 100
    task = attempt(add(labels, shown))
    assert task.status == "held"
    found = {finding["code"]: finding for finding in task.findings if finding["holds"]}
    assert found["resembles-known"]["classes"] == ["wren"]
    assert "crane" in found["resembles-known"]["detail"]


def test_known_images_that_are_gone_hold_nothing_up(session_factory, blobs, learner, add, attempt):
    first = attempt(add(honest(n=40), honest(n=40)))
    with session_factory() as session:
        rows = samples.task_samples(session, first.id, "train")
    for row in rows:
        blobs.delete(row.blob_sha256)
    with session_factory.begin() as session:
        assert len(samples.task_samples(session, first.id, "eval")) == 16
        # Otherwise evaluating the first task would fail, and rightly.
        samples.drop_samples(session, first.id)
    assert attempt(add(honest(("owl", "wren")), honest(("owl", "wren")))).version == 2


def test_a_relabelled_known_class_is_held_when_it_comes_as_more_of_another(
    session_factory, learner, add, attempt
):
    labels = honest(n=60)
    assert attempt(add(labels, labels)).status == "succeeded"
    # Herons called egrets: more of a known class, so they may look like one, but not be copies of the other.
    extension = attempt(add(["egret"] * 200, ["heron"] * 200, mode="extend"))
    assert extension.status == "held"
    assert any(finding["holds"] for finding in extension.findings)


def test_a_version_that_harms_what_is_known_is_held_with_the_classes_named(learner, add, attempt):
    # A class of two looks, so that its mean is near neither.
    shown = ["egret"] * 200 + ["heron"] * 140 + ["ibis"] * 60
    assert attempt(add(honest(("egret", "heron"), n=200), shown)).status == "succeeded"
    # Too few herons called cranes to be noticed beforehand: the herons held out show what they do.
    harm = attempt(add(["crane"] * 18, ["heron"] * 18))
    assert [finding["code"] for finding in harm.findings if finding["holds"]] == ["harms-known"]
    assert harm.findings[0]["classes"] == ["heron"]
    assert harm.status == "held"
    assert harm.pending_version is not None
    assert "heron" in harm.error["detail"]


def test_rolling_a_poisoned_task_back_brings_the_version_before(
    session_factory, learner, add, attempt
):
    attempt(add(honest(("owl", "wren")), honest(("owl", "wren"))))
    task = attempt(add(poisoned(), honest(), {"screening": "warn"}))
    assert task.version == 2
    with session_factory.begin() as session:
        versions.move_head(session, learner.id, 1)
        learners.set_alias(session, learner.id, 1)
    with session_factory() as session:
        assert tasks.get_task(session, task.id).status == "superseded"
        assert learners.live_version(session, learner.id) == 1
    # The same images may come again, with their right labels.
    assert attempt(add(honest(), honest())).status == "succeeded"

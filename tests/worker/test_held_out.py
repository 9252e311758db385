"""Kept features of held-out images: what they spare, that answers stay the same, and that they go with the images."""

from dataclasses import asdict, replace

import pytest
import torch
from sqlalchemy import select

from models import artifact
from models.held_out import HeldOutFeatures
from registry import held_out, references, samples, tasks, versions
from registry.tables import AccuracyRow
from tests.factories import make_learner, make_task
from worker import held_out as measuring
from worker.held_out import measure_held_out
from worker.settings import WorkerSettings


@pytest.fixture
def settings(database_url, tmp_path):
    return WorkerSettings(data_dir=tmp_path, database_url=database_url, device="cpu", progress_s=0)


@pytest.fixture
def teach(session_factory, blobs, attempt, strategy):
    """A function that lets the learner learn a task of some classes, and returns its row."""

    def run(*classes):
        with session_factory.begin() as session:
            made = make_task(
                session, blobs, classes=classes, n_train=4, n_eval=2, config=FAST.get(strategy, {})
            )
        learned = attempt(made.id)
        assert learned.status == "succeeded"
        return learned

    return run


@pytest.fixture(params=["simplecil", "artsy", "finetune"])
def strategy(request):
    return request.param


@pytest.fixture
def learner(session_factory, strategy):
    with session_factory.begin() as session:
        return make_learner(session, strategy=strategy)


FAST = {"finetune": {"epochs": 1, "bottleneck": 8}, "artsy": {"adapt": "never"}}


@pytest.fixture
def loaded(monkeypatch):
    """The labels of the images that are loaded to be measured, one list a call."""
    load, calls = measuring.load_images, []

    def noted(rows, *arguments):
        calls.append([row.label for row in rows])
        return load(rows, *arguments)

    monkeypatch.setattr(measuring, "load_images", noted)
    return calls


def kept_of(session_factory, learner, *indexes):
    with session_factory() as session:
        return held_out.kept(session, learner.id, indexes)


def test_old_tasks_are_measured_without_their_images_and_come_out_the_same(
    session_factory, blobs, learner, strategy, teach, loaded, tiny_backbone
):
    teach("heron", "egret")
    teach("crane", "stork")
    assert loaded == ([] if strategy != "finetune" else [["heron"] * 2 + ["egret"] * 2])
    teach("ibis")
    with session_factory() as session:
        measured = session.scalars(
            select(AccuracyRow)
            .where(AccuracyRow.learner_id == learner.id, AccuracyRow.version == 3)
            .order_by(AccuracyRow.task_index)
        ).all()
        rows = samples.eval_samples_by_task(session, learner.id, [1, 2, 3])
        head = versions.get_version(session, learner.id, 3)
        learned = _loaded(head, blobs, tiny_backbone)
        named = held_out.kept(session, learner.id, [1, 2, 3])
    # As if nothing had been kept.
    afresh = measure_held_out(learned, rows, {}, None, blobs, lambda _: None)
    again = measure_held_out(learned, rows, named, None, blobs, lambda _: None)
    assert again.cells == afresh.cells
    assert [(cell.n, cell.n_correct) for cell in again.cells] == [
        (cell.n, cell.n_correct) for cell in measured
    ]
    if strategy == "finetune":
        assert (named, again.features) == ({}, {})
        return
    assert set(named) == {1, 2, 3}
    assert again.features == {}
    assert afresh.features == {index: blobs.get(sha256) for index, sha256 in named.items()}


def _loaded(version, blobs, backbone):
    return artifact.load(blobs.get(version.manifest_sha256), blobs.get, backbone)


@pytest.mark.parametrize("strategy", ["simplecil"], indirect=True)
@pytest.mark.parametrize(
    "change", ["missing", "damaged", "no features", "other features", "other images"]
)
def test_what_does_not_fit_is_made_anew(session_factory, learner, teach, loaded, blobs, change):
    teach("heron", "egret")
    before = kept_of(session_factory, learner, 1)
    right = HeldOutFeatures.unpack(blobs.get(before[1]))
    others = {
        "no features": b"something else",
        "other features": replace(right, fingerprint="f", rows=right.rows + 1).pack(),
        "other images": replace(right, images=("0" * 64, *right.images[1:])).pack(),
    }
    if change in others:
        with session_factory.begin() as session:
            held_out.keep(session, learner.id, {1: blobs.put(others[change])})
    elif change == "missing":
        blobs.delete(before[1])
    else:
        (blobs.root / "sha256" / before[1][:2] / before[1][2:]).write_bytes(b"cut off")
    teach("crane")
    assert loaded == [["heron"] * 2 + ["egret"] * 2]
    assert kept_of(session_factory, learner, 1) == before
    assert blobs.get(before[1]) == right.pack()


@pytest.mark.parametrize("strategy", ["simplecil"], indirect=True)
def test_what_was_unlearned_goes_from_what_is_kept(session_factory, learner, teach, attempt, blobs):
    teach("heron", "egret")
    teach("crane", "stork")
    before = kept_of(session_factory, learner, 1, 2)
    with session_factory() as session:
        rows = samples.eval_samples_by_task(session, learner.id, [1, 2])
    with session_factory.begin() as session:
        task = tasks.add_unlearning(
            session,
            learner.name,
            name=None,
            tasks=[2],
            classes=["heron"],
            options={},
            needs_images=False,
        )
    assert attempt(task.id).status == "succeeded"
    after = kept_of(session_factory, learner, 1, 2)
    assert set(after) == {1}
    left = HeldOutFeatures.unpack(blobs.get(after[1]))
    assert left.images == tuple(row.blob_sha256 for row in rows[1] if row.label == "egret")
    with session_factory() as session:
        assert not set(before.values()) & references.addressed(session)


@pytest.mark.parametrize("strategy", ["simplecil"], indirect=True)
def test_a_task_whose_images_went_is_not_measured_and_keeps_nothing(
    session_factory, learner, teach, loaded
):
    first = teach("heron", "egret")
    teach("crane")
    with session_factory.begin() as session:
        samples.drop_samples(session, first.id)
    assert set(kept_of(session_factory, learner, 1, 2)) == {2}
    teach("stork")
    assert set(kept_of(session_factory, learner, 1, 2, 3)) == {2, 3}
    assert loaded == []


@pytest.mark.parametrize("strategy", ["simplecil"], indirect=True)
def test_images_that_are_asked_for_are_loaded_alone(
    session_factory, learner, teach, loaded, blobs, tiny_backbone
):
    teach("heron", "egret")
    teach("crane")
    with session_factory() as session:
        rows = samples.eval_samples_by_task(session, learner.id, [1, 2])
        learned = _loaded(versions.get_version(session, learner.id, 2), blobs, tiny_backbone)
        named = held_out.kept(session, learner.id, [1, 2])
    score = learned.score_features

    def asking(features, images_of):
        raw = score(features, images_of)
        chosen = (learned.classes_[k] in ("egret", "crane") for k in raw.logits.argmax(dim=1))
        places = [i for i, is_one in enumerate(chosen) if is_one]
        seen = images_of(_rows(places))
        raw.logits[places] = score(learned.features_of(seen), images_of).logits
        return raw

    plain = measure_held_out(learned, rows, named, None, blobs, lambda _: None)
    learned.score_features = asking
    found = measure_held_out(learned, rows, named, None, blobs, lambda _: None)
    assert [asdict(cell) for cell in found.cells] == [asdict(cell) for cell in plain.cells]
    assert [set(labels) for labels in loaded] == [{"egret"}, {"crane"}]


def _rows(places):
    return torch.tensor(places)

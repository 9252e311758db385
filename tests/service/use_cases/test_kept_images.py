"""Which kept row is that of which image."""

from dataclasses import replace

import pytest
import torch

from registry import samples
from service.use_cases.kept_images import matched, name_rows
from tests.service.api import image_files, version_of
from tests.waiting import wait_until


@pytest.fixture
def kept(client, learn, app):
    """A learner, and what a version keeps of its images: the snapshot, the parts, the rows, and samples by task."""
    client.post("/v1/learners", json={"name": "birds", "strategy": "artsy", "backbone": "tiny"})
    files = image_files(("heron", "egret", "stork"), 12)
    learn(client.post("/v1/learners/birds/tasks", files=files).json()["id"])
    wait_until(lambda: version_of(client, "birds") == 1)
    context = app.state.context
    address = context.watcher.find_version("birds", 1)
    snapshot = context.store.loaded(address.key) or context.loader.load(address)
    with torch.inference_mode():
        found, parts = snapshot.strategy.look_into_images()
    with context.session_factory() as session:
        learner_id = snapshot.learner_id
        tasks = samples.train_samples_by_task(session, learner_id, snapshot.strategy.task_indexes_)
    return context, snapshot, parts, found.rows, tasks


def test_where_order_tells_nothing_images_are_told_by_what_they_look_like(kept):
    context, snapshot, parts, rows, tasks = kept
    by_order = [row.id for row in name_rows(context, snapshot, parts, rows, tasks)]
    assert len(set(by_order)) == len(rows)

    trained = [replace(part, is_in_order=False) for part in parts]
    shuffled, start = [], 0
    for part in parts:
        shuffled.append(rows[start : start + part.n_rows].flip(0))
        start += part.n_rows
    named = name_rows(context, snapshot, trained, torch.cat(shuffled), tasks)
    expected, start = [], 0
    for part in parts:
        expected += by_order[start : start + part.n_rows][::-1]
        start += part.n_rows
    assert [row.id for row in named] == expected


def test_an_image_that_is_gone_is_not_named(kept):
    context, snapshot, parts, rows, tasks = kept
    gone = tasks[parts[0].task][0]
    context.blobs.delete(gone.blob_sha256)
    trained = [replace(part, is_in_order=False) for part in parts]
    named = name_rows(context, snapshot, trained, rows, tasks)
    assert gone.id not in {row.id for row in named if row is not None}
    assert sum(row is None for row in named) == 1


def test_each_row_is_that_of_one_image_at_most():
    images = torch.eye(3)
    rows = torch.tensor([[0.0, 0, 2], [0.99, 0.01, 0], [0.98, 0.02, 0]])
    assert matched(images, rows) == [(0, 1), (2, 0)]

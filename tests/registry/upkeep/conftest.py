"""Fixtures for backup, restore and doctor: an installation with something in it, and an empty one."""

import pytest

from registry import audit, keys, queue, tasks
from registry.blobs.store import LocalBlobStore
from tests.databases import make_empty_database
from tests.factories import make_learner, make_task, publish_task, put_artifact


@pytest.fixture
def fresh(postgres):
    """URL of a second database, without tables."""
    return make_empty_database(postgres, "elsewhere")


@pytest.fixture
def fresh_blobs(tmp_path):
    return LocalBlobStore(tmp_path / "elsewhere")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "all.tar"


@pytest.fixture
def filled(session_factory, blobs):
    """A learner with a published task, a running, a cancelling and a waiting one."""
    with session_factory.begin() as session:
        make_learner(session, "birds")
        make_learner(session, "fish")
        key, _ = keys.create_key(session, 'a "name"\twith\\n odd characters\n', "admin")
        audit.record(session, None, "key.create", subject=key.id)
        first = make_task(session, blobs, "birds", n_train=2, n_eval=1)
        publish_task(session, first, manifest_sha256=put_artifact(blobs, b"one", b"two"))
        running = make_task(session, blobs, "birds", classes=("crane", "ibis"), n_eval=0)
        queue.claim(session, running.id, "w", 30)
        make_task(session, blobs, "birds", classes=("stork",), n_train=2, n_eval=0)
        cancelling = make_task(session, blobs, "fish", classes=("eel",), n_train=2, n_eval=0)
        queue.claim(session, cancelling.id, "w", 30)
        tasks.request_cancel(session, cancelling.id)
    return running.id, cancelling.id

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text

from registry import held_out, learners, samples, tasks
from registry.upkeep.collection import collect
from tests.factories import make_learner, make_task, publish_task, put_artifact
from tests.waiting import wait_until


@pytest.fixture
def taught(session_factory, blobs):
    """A learner of three tasks, of which the second has no held-out image; and another one."""
    with session_factory.begin() as session:
        row = make_learner(session)
        make_learner(session, "fish")
        artifact = put_artifact(blobs, b"what was learned")
        for n_eval, classes in ((1, ("heron",)), (0, ("crane",)), (2, ("stork", "ibis"))):
            task = make_task(session, blobs, classes=classes, n_eval=n_eval)
            publish_task(session, task, manifest_sha256=artifact)
        task = make_task(session, blobs, "fish", classes=("carp",))
        publish_task(session, task, manifest_sha256=artifact)
    return row


def keep(session_factory, learner, **names):
    with session_factory.begin() as session:
        held_out.keep(session, learner.id, {int(name[1:]): blob for name, blob in names.items()})


def kept(session_factory, learner, *indexes):
    with session_factory() as session:
        return held_out.kept(session, learner.id, indexes or (1, 2, 3))


def task_id(session_factory, index, learner="birds"):
    with session_factory() as session:
        page = tasks.list_tasks(session, learner_name=learner)
    return next(task.id for task in page.items if task.index == index)


def test_what_is_kept_of_tasks_is_found_by_their_indexes(session_factory, taught):
    keep(session_factory, taught, _1="aa", _2="bb", _3="cc", _7="dd")

    # The second has nothing that could have been looked at, and there is no seventh.
    assert kept(session_factory, taught) == {1: "aa", 3: "cc"}
    assert kept(session_factory, taught, 3, 9) == {3: "cc"}
    keep(session_factory, taught, _1="ee")
    assert kept(session_factory, taught) == {1: "ee", 3: "cc"}
    keep(session_factory, taught)
    with session_factory() as session:
        assert held_out.kept(session, learners.get_learner(session, "fish").id, [1]) == {}
        assert held_out.of_task(session, task_id(session_factory, 1)) == ["ee"]
        assert held_out.of_task(session, task_id(session_factory, 2)) == []


def test_it_goes_with_the_images(session_factory, taught):
    keep(session_factory, taught, _1="aa", _3="cc")

    with session_factory.begin() as session:
        assert "aa" not in samples.drop_samples(session, task_id(session_factory, 1))

    assert kept(session_factory, taught) == {3: "cc"}
    keep(session_factory, taught, _1="aa")
    assert kept(session_factory, taught) == {3: "cc"}


def test_images_that_go_while_it_is_kept_take_it_with_them(session_factory, taught, engine):
    with ThreadPoolExecutor(1) as pool, session_factory() as session:
        samples.drop_samples(session, task_id(session_factory, 1))
        session.flush()
        keeping = pool.submit(keep, session_factory, taught, _1="aa", _3="cc")
        wait_until(lambda: waiting_for_a_lock(engine))
        session.commit()
        keeping.result()

    assert kept(session_factory, taught) == {3: "cc"}


def waiting_for_a_lock(engine):
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with engine.connect() as connection:
        return connection.scalar(text(query))


def test_collection_leaves_it_as_long_as_a_task_names_it(session_factory, blobs, taught):
    first, other = blobs.put(b"features"), blobs.put(b"other features")
    keep(session_factory, taught, _1=first)

    collect(session_factory, blobs, grace=timedelta(0))

    assert blobs.exists(first)
    assert not blobs.exists(other)
    with session_factory.begin() as session:
        samples.drop_samples(session, task_id(session_factory, 1))
    collect(session_factory, blobs, grace=timedelta(0))
    assert not blobs.exists(first)

"""What pages show of what was unlearned or superseded."""

from registry import learners, tasks, versions
from service.dashboard import plots, views
from tests.factories import publish_task as publish


def test_an_unlearning_is_told_from_a_task_that_teaches(session, three, client, role_keys):
    task = tasks.add_unlearning(
        session, three, name=None, tasks=[2], classes=[], options={}, needs_images=False
    )
    publish(session, task, classes=["heron", "egret", "crane"], tasks=[1, 3])
    session.commit()
    page = views.learner_page(session, three)
    assert [view.is_unlearning for view in page.tasks] == [True, False, False, False]
    assert [view.is_erased for view in page.versions] == [False, True, True, False]
    assert page.card.n_tasks == 2
    # The figures are drawn although a column ends.
    assert plots.accuracy_matrix(page.history)["data"][0]["x"] == [1, 2, 3]
    client.cookies.clear()
    text = client.get(f"/admin/learners/{three}", headers={"Accept": "text/html"}).text
    assert text.count("pill-erased") == 2
    assert "unlearned</span> stork" in text


def test_superseded_tasks_are_shown_as_such(session, three, client):
    learner_id = tasks.list_tasks(session).items[0].learner_id
    learners.set_alias(session, learner_id, 1)
    versions.move_head(session, learner_id, 1)
    session.commit()
    page = views.learner_page(session, three)
    assert [view.status for view in page.tasks] == ["superseded", "superseded", "succeeded"]
    assert not any(view.can_retry or view.can_cancel or view.is_active for view in page.tasks)
    # Only what the live version knows is offered to try.
    assert {sample.label for sample in views.held_out_samples(session, three)} == {"heron", "egret"}
    text = client.get(f"/admin/learners/{three}", headers={"Accept": "text/html"}).text
    assert text.count("pill-superseded") == 2

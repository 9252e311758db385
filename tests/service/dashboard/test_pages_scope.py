"""A browser that was logged in with a key for some learners: the others do not exist."""

import pytest

from registry import keys, learners, workers
from registry.samples import list_samples
from registry.tasks import list_tasks
from tests.factories import make_image, make_learner, make_task
from tests.service.dashboard.published import publish_task

OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def limited(app, visitor, log_in, session, blobs, three):
    """A browser of a trainer of fish, where there are birds too."""
    make_learner(session, "fish")
    publish_task(session, blobs, "fish", ("carp",), [1.0])
    workers.announce(
        session, "gpu-1", kind="local", host="box", pid=1, device="cpu", slots=1, version="0"
    )
    _, key = keys.create_key(session, "fishers", "trainer", learners=["fish"])
    session.commit()
    app.state.context.keys.refresh()
    assert log_in(key).status_code == 303
    return visitor


def test_only_its_learners_are_on_the_pages(limited):
    home, tasks = limited.get("/admin").text, limited.get("/admin/tasks").text
    assert "fish" in home
    assert "carp" in tasks
    for html in (home, tasks):
        assert "birds" not in html
        assert "heron" not in html
        assert "gpu-1" not in html


@pytest.mark.parametrize("path", ["", "/classes", "/classes/carp", "/versions/1", "/try", "/teach"])
def test_pages_of_its_learners_work_and_others_are_not_there(limited, path):
    assert "carp" in limited.get("/admin/learners/fish/classes").text
    assert limited.get(f"/admin/learners/fish{path}").status_code == 200
    assert limited.get(f"/admin/learners/birds{path}").status_code == 404


def test_it_changes_nothing_of_others(limited, session, blobs):
    waiting = make_task(session, blobs, "birds", classes=("ibis",))
    session.commit()
    sample = list_samples(session, list_tasks(session, learner_name="birds").items[-1].id).items[0]
    live = {"version": "1", "expected": "3"}
    photos = {"images": ("ibis/1.png", make_image(), "image/png")}
    hide = {"label": "heron", "is_hidden": "true"}
    answers = [
        limited.post("/admin/learners/birds/live", data=live, headers=OWN),
        limited.post("/admin/learners/birds/classes", data=hide, headers=OWN),
        limited.post(f"/admin/tasks/{waiting.id}/cancel", headers=OWN),
        limited.post("/admin/learners/birds/teach", files=photos, headers=OWN),
        limited.post("/admin/learners/birds/teach/look", files=photos, headers=OWN),
        limited.get(f"/admin/samples/{sample.id}/image"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 6
    session.refresh(waiting)
    assert waiting.status == "queued"
    assert learners.live_version(session, learners.get_learner(session, "birds").id) == 3

"""Bodies that are held in memory are bounded over all requests together."""

import pytest

from service.http.middleware import BodyBudget, BodyMeter
from service.http.problems import Problem


def test_what_is_held_is_bounded_and_comes_back():
    budget = BodyBudget(100)
    first, second = BodyMeter(1000, budget=budget), BodyMeter(1000, budget=budget)
    first.take(bytes(60))
    with pytest.raises(Problem, match="More work is waiting") as caught:
        second.take(bytes(60))
    assert caught.value.code == "overloaded"
    second.take(bytes(40))
    first.release()
    first.release()
    second.release()
    assert budget.held_bytes == 0


def test_a_body_on_the_disk_is_not_counted():
    meter = BodyMeter(1000)
    meter.take(bytes(600))
    meter.release()
    assert (meter.size, meter.held) == (600, 0)


@pytest.mark.parametrize(
    ("path", "kind", "is_held"),
    [
        ("/v1/learners/{}/predictions", "image/png", True),
        ("/v1/learners/{}/predictions", "multipart/form-data; boundary=b", True),
        ("/v1/learners/{}/tasks", "application/json", True),
        ("/v1/learners/{}/tasks", "multipart/form-data; boundary=b", False),
        ("/v1/learners/{}/tasks", "application/zip", False),
        ("/v1/learners/import", "application/x-tar", False),
    ],
)
def test_requests_share_the_room_and_leave_it(app, client, taught, path, kind, is_held):
    """Where there is no room left, a body is refused if it would be held; nothing stays counted."""
    frontier = app.middleware_stack
    while not hasattr(frontier, "bodies"):
        frontier = frontier.app
    budget = frontier.bodies
    budget.held_bytes = budget.most_bytes - 10
    answer = client.post(path.format(taught), content=bytes(5000), headers={"Content-Type": kind})
    assert (answer.status_code == 503) == is_held
    assert budget.held_bytes == budget.most_bytes - 10
    budget.held_bytes = 0
    answer = client.post(path.format(taught), content=bytes(5000), headers={"Content-Type": kind})
    assert answer.status_code != 503
    assert budget.held_bytes == 0

"""Bodies that are held in memory are bounded over all requests together, and large ones are read at a pace."""

import asyncio
import time

import pytest

from service.http.middleware import BodyBudget, BodyMeter, Pace
from service.http.problems import Problem
from tests.waiting import is_within


def frontier_of(app):
    layer = app.middleware_stack
    while not hasattr(layer, "pace"):
        layer = layer.app
    return layer


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


def test_large_bodies_share_a_pace():
    pace = Pace(1_000_000)

    async def read():
        await asyncio.gather(*(pace.take(50_000) for _ in range(4)))

    started = time.monotonic()
    asyncio.run(read())
    took_s = time.monotonic() - started
    assert took_s >= 0.2
    assert is_within(took_s, 2)
    asyncio.run(Pace(0).take(10**12))


def test_only_what_is_beyond_the_first_mebibyte_is_paced(app, client, taught):
    pace = frontier_of(app).pace
    path = f"/v1/learners/{taught}/predictions"
    client.post(path, content=bytes(900_000), headers={"Content-Type": "image/png"})
    assert pace.free_at == 0
    client.post(path, content=bytes(3_000_000), headers={"Content-Type": "image/png"})
    assert pace.free_at > 0


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
    budget = frontier_of(app).bodies
    budget.held_bytes = budget.most_bytes - 10
    answer = client.post(path.format(taught), content=bytes(5000), headers={"Content-Type": kind})
    assert (answer.status_code == 503) == is_held
    assert budget.held_bytes == budget.most_bytes - 10
    budget.held_bytes = 0
    answer = client.post(path.format(taught), content=bytes(5000), headers={"Content-Type": kind})
    assert answer.status_code != 503
    assert budget.held_bytes == 0

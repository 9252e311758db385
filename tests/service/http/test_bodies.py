"""Bodies that are held in memory are bounded over all requests together, and large ones are read at a pace."""

import asyncio
import time

import pytest

from service.http.bodies import STRANGERS_HOLD_BYTES, BodyBudget, BodyMeter, Holder, Pace
from service.problems import Problem
from tests.waiting import is_within


def admission_of(app):
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
    pace = admission_of(app).pace
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
    budget = admission_of(app).bodies
    budget.held_bytes = budget.most_bytes - 10
    answer = client.post(path.format(taught), content=bytes(5000), headers={"Content-Type": kind})
    assert (answer.status_code == 503) == is_held
    assert budget.held_bytes == budget.most_bytes - 10
    budget.held_bytes = 0
    answer = client.post(path.format(taught), content=bytes(5000), headers={"Content-Type": kind})
    assert answer.status_code != 503
    assert budget.held_bytes == 0


def test_no_number_of_keys_takes_all_the_room():
    """Each holds at most twice what it leaves, so that another one finds some."""
    budget = BodyBudget(1_000_000)

    def fill(holder):
        while True:
            budget.take(100, holder)

    for number in range(1, 6):
        with pytest.raises(Problem) as caught:
            fill(Holder(f"{number}"))
        assert caught.value.code == "overloaded"
        free = budget.most_bytes - budget.held_bytes
        assert 0 <= free - 1_000_000 / 3**number < 200
    budget.take(1000, Holder("another"))
    alone = BodyBudget(900)
    alone.take(600, Holder("only"))


def test_the_largest_body_finds_room_however_little_there_is():
    budget = BodyBudget(1000, largest_body=1000)
    meter = BodyMeter(1000, budget=budget, holder=Holder("only"))
    meter.take(bytes(1000))
    meter.release()
    assert budget.held_bytes == 0


def test_an_address_without_a_key_holds_little():
    budget = BodyBudget(10**9)
    here, there = Holder("here", is_stranger=True), Holder("there", is_stranger=True)
    budget.take(STRANGERS_HOLD_BYTES, here)
    with pytest.raises(Problem) as caught:
        budget.take(1, here)
    assert (caught.value.code, caught.value.headers) == ("rate-limited", {"Retry-After": "1"})
    budget.take(1, there)
    budget.give_back(STRANGERS_HOLD_BYTES, here)
    budget.take(1, here)


def test_texts_of_an_upload_count_until_it_is_answered(app, client, birds):
    """Though its files go to the disk. One wide letter makes a text four times as large in memory."""
    budget = admission_of(app).bodies
    most = budget.most_bytes
    files = [("images", ("a.png", b"x"))]

    def post(label):
        return client.post(
            f"/v1/learners/{birds}/tasks", files=files, data={"labels": [label] * 50}
        )

    budget.most_bytes = 300_000
    assert post("x" * 1000).status_code == 422
    for label in ("x" * 10_000, "x" * 2000 + "\N{ROCKET}"):
        assert post(label).status_code == 503
    assert budget.held_bytes == 0
    budget.most_bytes = most
    assert post("x" * 10_000).status_code == 422


@pytest.mark.parametrize("is_file", [False, True])
def test_all_texts_of_a_form_have_a_limit(client, birds, monkeypatch, is_file):
    monkeypatch.setattr("service.intake.multipart.MAX_TEXT_BYTES", 10_000)
    name = "a/" + "x" * 1000
    part = ("images", (name, b"x")) if is_file else ("labels", (None, name))
    for count, status in ((9, 422), (10, 413)):
        answer = client.post(f"/v1/learners/{birds}/tasks", files=[part] * count)
        assert answer.status_code == status, answer.text
    assert answer.json()["code"] == "part-too-large"

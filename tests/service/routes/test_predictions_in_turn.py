"""What was taken is answered in time, and what nobody waits for is not done."""

import threading
import time

import pytest

from service.intake.forms import HALVED
from service.problems import Problem
from tests.attacks.pictures import large
from tests.factories import make_image
from tests.waiting import wait_until, within


@pytest.fixture
def stuck(app, monkeypatch):
    """Let no image be decoded; returns how many have begun, and the gate that lets them go on."""
    decoder = app.state.context.decoder
    gate, begun, decode = threading.Event(), [], decoder.decode

    def slowly(data, form):
        begun.append(len(data))
        gate.wait()
        return decode(data, form)

    monkeypatch.setattr(decoder, "decode", slowly)
    yield begun, gate
    gate.set()


def test_who_waits_beyond_the_promise_is_told_so(client, taught, app, stuck, monkeypatch):
    _, gate = stuck
    decoder = app.state.context.decoder
    settings = app.state.context.settings
    monkeypatch.setitem(vars(settings), "max_wait_s", 0.2)
    files = [("images", ("a.png", make_image()))] * 8
    started = time.monotonic()
    answer = client.post(f"/v1/learners/{taught}/predictions", files=files)
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    assert time.monotonic() - started >= 0.2
    assert decoder.n_waiting == 0
    gate.set()
    monkeypatch.undo()
    with within(10.0):
        answer = client.post(f"/v1/learners/{taught}/predictions", files=files)
    assert answer.status_code == 200


def test_another_key_is_taken_while_one_has_filled_its_lane(app, taught, client):
    context = app.state.context
    gate = threading.Event()
    [weight] = context.decoder.weigh("one", [large("PNG", 2500)], HALVED).result()
    work = [context.decoder.submit("greedy", weight, gate.wait) for _ in range(200)]
    with pytest.raises(Problem) as caught:
        context.decoder.require_capacity("greedy", [weight])
    assert caught.value.code == "overloaded"
    assert context.decoder.require_capacity("other", [weight]) > 0
    for future in work:
        future.cancel()
    gate.set()
    wait_until(lambda: context.decoder.n_waiting == 0)


def test_a_key_has_a_rate_of_decoding_and_an_admin_none(client, taught, app, monkeypatch):
    settings = app.state.context.settings
    monkeypatch.setitem(vars(settings), "predict_pixels_per_minute", 1_000_000)
    made = client.post("/v1/keys", json={"name": "camera", "role": "predictor"}).json()
    url = f"/v1/learners/{taught}/predictions"
    headers = {"Authorization": f"Bearer {made['key']}", "Content-Type": "image/png"}

    def ask(**given):
        return client.post(url, content=large("PNG", 2000), headers={**headers, **given})

    assert ask().status_code == 200
    refused = ask()
    assert (refused.status_code, refused.json()["code"]) == (429, "rate-limited")
    assert int(refused.headers["retry-after"]) > 60
    as_admin = {"Authorization": client.headers["Authorization"]}
    assert [ask(**as_admin).status_code for _ in range(2)] == [200, 200]
    limits = client.get("/v1/info").json()["limits"]
    assert limits["predict_pixels_per_minute"] == 1_000_000
    assert limits["predict_pixels"] == settings.max_predict_pixels

"""Pictures of many pixels in few bytes: they cost whoever sends them, and nobody else."""

import socket
import threading
from contextlib import contextmanager

import httpx
import pytest

from benchmarks.bad_input.service import LEARNER
from tests.attacks.neighbour import Neighbour, harmless, require_unharmed
from tests.attacks.pictures import form, large, photo, wait_idle
from tests.attacks.strangers import cpu_s
from tests.waiting import PACE, wait_until

pytestmark = pytest.mark.timed(group="attacks and load")

SIDES = {"WEBP": 5000, "PNG": 5000, "GIF": 7500}
PATH = f"/v1/learners/{LEARNER}/predictions"


@pytest.fixture
def key(service):
    """Return a function that makes a key of a role."""
    made = []

    def make(role):
        answer = service.client.post("/v1/keys", json={"name": f"{role}-{len(made)}", "role": role})
        made.append(answer.json())
        return made[-1]["key"]

    yield make
    for one in made:
        service.client.delete(f"/v1/keys/{one['id']}")


@contextmanager
def attackers(service, key, send, count=3):
    """Let some clients send requests one after the other while the block runs; yields their answers."""
    answers, stopping = [], threading.Event()

    def act():
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=PACE.scaled(60)) as client:
            while not stopping.is_set():
                answers.append(send(client))

    threads = [threading.Thread(target=act) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def sends(path, files):
    return lambda client: client.post(path, files=files)


def require_honest(answers, *expected):
    """Every answer is one of those; what is refused for now says for how long."""
    assert {answer.status_code for answer in answers} <= {*expected}, answers
    for answer in answers:
        if answer.status_code in (429, 503):
            assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("format", "mode"), [("WEBP", "RGB"), ("PNG", "RGBA"), ("GIF", "P")], ids=str
)
def test_sixty_four_large_pictures_in_few_bytes_are_refused_by_their_headers(
    service, key, format, mode
):
    data = large(format, mode=mode, side=SIDES[format])
    before = cpu_s(service.process.pid)
    headers = {"Authorization": f"Bearer {key('predictor')}"}
    answer = service.client.post(PATH, files=form(data, 64), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-many-pixels")
    assert "megapixels" in answer.json()["detail"]
    assert cpu_s(service.process.pid) - before < 1.0


@pytest.mark.parametrize(
    ("format", "side", "count"), [("WEBP", 5000, 64), ("PNG", 5000, 4), ("PNG", 2000, 12)]
)
@harmless
def test_large_pictures_of_one_key_do_no_harm_to_another(service, key, format, side, count):
    attacker = key("predictor")
    files = form(large(format, side), count)
    with Neighbour(service) as neighbour:
        quiet = neighbour.watch(2.0)
        with (
            neighbour.watching(3.0) as attacked,
            attackers(service, attacker, sends(PATH, files)) as answers,
        ):
            wait_until(lambda: len(attacked.seconds) >= 12)
        wait_idle(service.process.pid, quiet.cores)
        require_unharmed(attacked, quiet, neighbour.watch(2.0))
    require_honest(answers, 200, 413, 429, 503)


def test_refusals_again_and_again_cost_little(service, key):
    headers = {"Authorization": f"Bearer {key('predictor')}"}
    files = form(large("WEBP"), 64)
    before = cpu_s(service.process.pid)
    answers = [service.client.post(PATH, files=files, headers=headers) for _ in range(10)]
    require_honest(answers, 413)
    assert cpu_s(service.process.pid) - before < 2.0


@harmless
def test_what_nobody_waits_for_is_not_decoded(service, key):
    request = service.client.build_request(
        "POST",
        PATH,
        files=form(large("PNG", mode="RGBA"), 16),
        headers={"Authorization": f"Bearer {key('predictor')}"},
    )
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    head = f"POST {PATH} HTTP/1.1\r\n{lines}\r\n".encode()
    with Neighbour(service) as neighbour:
        quiet = neighbour.watch(1.0)
        before = cpu_s(service.process.pid)
        with neighbour.watching(2.0) as attacked:
            for _ in range(3):
                with socket.create_connection(service.address) as connection:
                    connection.sendall(head + request.read())
        wait_idle(service.process.pid, quiet.cores)
        # All of it would be 3 x 16 pictures of about a second.
        assert cpu_s(service.process.pid) - before < 12.0
        require_unharmed(attacked, quiet, neighbour.watch(1.0))


def test_sixty_four_photos_of_a_phone_are_answered(service, key):
    headers = {"Authorization": f"Bearer {key('predictor')}"}
    files = form(photo(4000, 3000), 64)
    answer = service.client.post(
        f"{PATH}?store=false", files=files, headers=headers, timeout=PACE.scaled(60)
    )
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["results"]) == 64


@pytest.fixture
def walls(service):
    """A learner that has learned nothing."""
    body = {"name": "walls", "strategy": "simplecil", "backbone": "tiny"}
    service.client.post("/v1/learners", json=body).raise_for_status()
    yield "walls"
    service.client.delete("/v1/learners/walls")


@harmless
def test_an_upload_of_large_pictures_leaves_predictions_alone(service, key, walls):
    headers = {"Authorization": f"Bearer {key('trainer')}"}
    files = form(large("WEBP"), 12)
    with Neighbour(service) as neighbour:
        quiet = neighbour.watch(2.0)
        with neighbour.watching(2.0) as attacked:
            answer = service.client.post(
                f"/v1/learners/{walls}/tasks",
                files=files,
                data={"labels": "wall"},
                headers=headers,
                timeout=PACE.scaled(60),
            )
        require_unharmed(attacked, quiet, neighbour.watch(2.0))
    # Tried again, they are there already.
    assert answer.status_code in (202, 409, 422), answer.text

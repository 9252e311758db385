"""Many at once: one key makes one task, and moving the served version back and forth loses no prediction."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.factories import make_image
from tests.service.api import image_files
from tests.waiting import is_within, wait_until

N_POSTS = 50
PNG = {"Content-Type": "image/png"}


def test_fifty_posts_with_one_key_make_one_task(client, birds):
    files = image_files(("heron", "egret"), 3)
    gate = threading.Barrier(N_POSTS)

    def post(_):
        gate.wait()
        path = f"/v1/learners/{birds}/tasks"
        return client.post(path, files=files, headers={"Idempotency-Key": "fifty"})

    with ThreadPoolExecutor(N_POSTS) as pool:
        answers = list(pool.map(post, range(N_POSTS)))

    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {202, 409, 503}, statuses
    made = [answer for answer in answers if answer.status_code == 202]
    first = [answer for answer in made if "idempotent-replayed" not in answer.headers]
    assert len(first) == 1
    assert len({answer.json()["id"] for answer in made}) == 1
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code != 202)
    assert len(client.get(f"/v1/learners/{birds}/tasks").json()["items"]) == 1
    later = client.post(
        f"/v1/learners/{birds}/tasks", files=files, headers={"Idempotency-Key": "fifty"}
    )
    assert later.headers["idempotent-replayed"] == "true"
    assert later.json()["id"] == made[0].json()["id"]


def test_rolling_back_and_forward_under_load_is_quick_and_loses_nothing(client, taught, teach):
    assert teach(("ibis",))["version"] == 2
    path = f"/v1/learners/{taught}/predictions?store=false"
    image = make_image("heron", 99)
    wait_until(lambda: client.post(path, content=image, headers=PNG).json()["version"] == 2)
    answers = []
    stopping = threading.Event()

    def predict():
        while not stopping.is_set():
            asked = time.monotonic()
            answer = client.post(path, content=image, headers=PNG)
            answers.append((asked, answer.status_code, answer.json().get("version")))

    threads = [threading.Thread(target=predict) for _ in range(3)]
    for thread in threads:
        thread.start()
    moved = []
    for version in (1, 2, 1, 2):
        answer = client.put(f"/v1/learners/{taught}/aliases/live", json={"version": version})
        assert answer.status_code == 200, answer.text
        moved.append((time.monotonic(), version))
        wait_until(lambda wanted=version: answers and answers[-1][2] == wanted)
        time.sleep(0.3)
    stopping.set()
    for thread in threads:
        thread.join()

    assert {status for _, status, _ in answers} == {200}
    for (at, version), (until, _) in zip(moved, [*moved[1:], (float("inf"), 0)], strict=True):
        late = [
            asked - at for asked, _, found in answers if at < asked < until and found != version
        ]
        assert is_within(max(late, default=0.0), 2.0)

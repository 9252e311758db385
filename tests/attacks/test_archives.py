"""A trainer's key sends archives that are small and unpack to much, while others predict and teach."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from benchmarks.bad_input.service import LEARNER, picture
from tests.attacks.neighbour import Neighbour, harmless, require_unharmed
from tests.service.intake import bombs
from tests.service.intake.packing import zip_of
from tests.waiting import PACE, wait_until, within

pytestmark = pytest.mark.timed(group="attacks and load")

AT_ONCE = 8
"""Twice as many as there are slots for uploads."""
REFUSED = {(422, "archive-rejected"), (503, "overloaded")}
ATTACKS = {
    "one entry many times": (bombs.one_entry_many_times, "application/zip"),
    "one within another": (bombs.one_within_another, "application/zip"),
    "LZMA in a zip": (bombs.ZIPS["LZMA in a zip"], "application/zip"),
    "very many entries": (bombs.crowded_zip, "application/zip"),
    "tar.gz": (bombs.TARS["many members"], "application/gzip"),
    "tar.xz": (bombs.TARS["xz"], "application/x-xz"),
    "tar.bz2": (bombs.TARS["bz2"], "application/x-bzip2"),
    "headers of digits": (bombs.TARS["digits in a header"], "application/gzip"),
}


@pytest.fixture
def trainer(service):
    """A client with a trainer's key of its own."""
    key = service.client.post("/v1/keys", json={"name": "trainer", "role": "trainer"}).json()
    headers = {"Authorization": f"Bearer {key['key']}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=PACE.scaled(60.0)) as client:
        yield client


def send(client, data, media_type="application/zip"):
    path = f"/v1/learners/{LEARNER}/tasks"
    answer = client.post(path, content=data, headers={"Content-Type": media_type})
    return answer.status_code, answer.json().get("code")


@pytest.mark.parametrize("name", ATTACKS)
@harmless
def test_bombs_in_all_slots_harm_nobody(service, trainer, name):
    make, media_type = ATTACKS[name]
    bomb = make()
    written = sum(file.stat().st_size for file in service.folder.rglob("*") if file.is_file())
    with Neighbour(service) as neighbour, ThreadPoolExecutor(AT_ONCE) as senders:
        quiet = neighbour.watch(1.0)
        with neighbour.watching(1.0) as attacked, within(5.0):
            sent = [senders.submit(send, trainer, bomb, media_type) for _ in range(AT_ONCE)]
            answers = {future.result() for future in sent}
        require_unharmed(attacked, quiet, neighbour.watch(1.0))
    assert (422, "archive-rejected") in answers
    assert answers <= REFUSED
    after = sum(file.stat().st_size for file in service.folder.rglob("*") if file.is_file())
    assert after - written < 16 << 20, "something was kept"


def test_an_upload_of_another_key_gets_its_turn_among_bombs(service, trainer):
    bomb = bombs.one_entry_many_times()
    images = {f"{label}/{i}.png": picture(label, i) for label in ("ibis", "crane") for i in (1, 2)}
    path = f"/v1/learners/{LEARNER}/tasks"
    zipped = {"Content-Type": "application/zip"}

    def taught():
        answer = service.client.post(path, content=zip_of(images), headers=zipped)
        return answer if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE else None

    with ThreadPoolExecutor(AT_ONCE) as senders:
        sent = [senders.submit(send, trainer, bomb) for _ in range(4 * AT_ONCE)]
        answer = wait_until(taught, timeout_s=10.0)
        answers = {future.result() for future in sent}
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    assert answers <= REFUSED
    cancelled = service.client.post(f"/v1/tasks/{answer.json()['id']}/cancel")
    assert cancelled.status_code in (httpx.codes.OK, httpx.codes.ACCEPTED, httpx.codes.CONFLICT)

"""Two services on one database behind a proxy, restarted in turn under load; and what one says when it is to stop."""

import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from benchmarks.bad_input.service import picture
from benchmarks.rolling.replicas import PREDICTIONS, Replica, Site, learned_site
from tests.service.http.balancer import balancer
from tests.waiting import PACE, wait_until, within

pytestmark = pytest.mark.slow

N_CLIENTS = 4
EVERY_S = 0.05
"""That a client asks, at most: a service that starts beside them wants the processor too."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A database with a learner that has learned."""
    with learned_site() as found:
        yield found


@contextmanager
def replicas(site: Site, *drain_s: float) -> Iterator[list[Replica]]:
    """Run a service for each of these times to drain, until all have ended."""
    with ExitStack() as stack:
        found = [stack.enter_context(Replica(site, drain)) for drain in drain_s]
        wait_until(lambda: all(replica.is_ready() for replica in found))
        yield found


def test_no_prediction_fails_while_services_behind_a_proxy_are_restarted(site: Site) -> None:
    statuses: Counter[int] = Counter()
    stopping = threading.Event()

    def predict(url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "image/png"}
        with httpx.Client(base_url=url, headers=headers, timeout=PACE.scaled(60)) as client:
            while not stopping.wait(EVERY_S):
                statuses[client.post(PREDICTIONS, content=picture("heron", 1)).status_code] += 1

    with (
        replicas(site, 1.0, 1.0) as found,
        balancer([replica.netloc for replica in found]) as proxy,
    ):
        clients = [
            threading.Thread(target=predict, args=(proxy.url, site.key)) for _ in range(N_CLIENTS)
        ]
        for client in clients:
            client.start()
        try:
            for replica in found:
                replica.restart()
                before = statuses.total()
                wait_until(lambda before=before: statuses.total() > before + 20)
        finally:
            stopping.set()
            for client in clients:
                client.join()
    assert set(statuses) == {200}, (statuses, proxy.repeated)
    assert statuses.total() > 100
    assert proxy.repeated["not connected"] > 0, "no service was away"


def test_one_that_is_to_stop_says_so_and_answers_meanwhile(site: Site) -> None:
    with replicas(site, PACE.scaled(3.0)) as (replica,):
        url = f"http://{replica.netloc}"
        headers = {"Authorization": f"Bearer {site.key}", "Content-Type": "image/png"}
        with httpx.Client(base_url=url, headers=headers, timeout=PACE.scaled(60)) as client:
            assert "connection" not in client.get("/livez").headers
            replica.process.send_signal(signal.SIGTERM)
            wait_until(lambda: client.get("/readyz").status_code == 503)
            assert client.get("/readyz").json()["status"] == "stopping"
            answer = client.post(PREDICTIONS, content=picture("heron", 1))
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        with socket.create_connection(("127.0.0.1", replica.port)) as connection:
            with within(15):
                assert replica.process.wait() == 0
            assert connection.recv(1) == b""


def test_ctrl_c_does_not_wait_for_proxies(site: Site) -> None:
    with replicas(site, 600.0) as (replica,):
        replica.process.send_signal(signal.SIGINT)
        with within(15):
            assert replica.process.wait() == 0

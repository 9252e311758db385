"""Without a key: forms that cost a lot to parse, forms that never end, and headers that hide who asks."""

import threading

import httpx
import pytest

from service.http.bodies import STRANGER_BODY_BYTES, STRANGER_BODY_S
from tests.attacks.neighbour import Neighbour, harmless, require_unharmed
from tests.attacks.strangers import LOGIN, OWN, ask, connections, head, status_of
from tests.waiting import PACE, wait_until, within

pytestmark = pytest.mark.timed(group="attacks and load")

KIB, MIB = 1024, 1024 * 1024
QUIET_S = 1.5
FORM = {name.replace("-", "_"): value for name, value in OWN.items()}


def posted(body: bytes, path: str = LOGIN, **headers: str) -> bytes:
    return head("POST", path, Content_Length=str(len(body)), **(FORM | headers)) + body


@pytest.mark.parametrize(
    "headers",
    [{"Content_Length": str(63 * MIB)}, {"Transfer_Encoding": "chunked"}],
    ids=["declared", "in chunks"],
)
@harmless
def test_forms_that_never_end(service, headers):
    piece = b"k" * (2 * KIB)
    if "Transfer_Encoding" in headers:
        piece = b"%x\r\n%s\r\n" % (len(piece), piece)
    with (
        Neighbour(service) as neighbour,
        connections(service, 100) as opened,
        within(6 * STRANGER_BODY_S),
    ):
        quiet = neighbour.watch(QUIET_S)
        with neighbour.watching(1.5) as attacked:
            for connection in opened:
                connection.sendall(head("POST", LOGIN, **FORM, **headers) + piece)
            met = [status_of(connection) for connection in opened]
        require_unharmed(attacked, quiet, neighbour.watch(QUIET_S))
    if "Content_Length" in headers:
        assert set(met) == {413}
    else:
        # What fits is waited for, for seconds; of the rest there is too much from this address.
        assert set(met) == {408, 429}
        assert met.count(408) <= 32


@pytest.mark.parametrize("path", [LOGIN, "/admin/enter"])
@pytest.mark.parametrize(
    ("body", "statuses"),
    [
        (b"&" * STRANGER_BODY_BYTES, {413, 429}),
        (b"%41" * (STRANGER_BODY_BYTES // 3), {401, 429}),
        (b"key=" + b"=;%" * 1000, {401, 422, 429}),
        (b"&" * (4 * MIB), {413}),
    ],
    ids=["separators", "percent signs", "odd", "4 MiB of separators"],
)
@harmless
def test_forms_that_are_much_to_parse(service, path, body, statuses):
    met = set()
    request = posted(body, path)

    stopping = threading.Event()

    def attack():
        # Two hundred a second in all: more would measure this process, which the neighbour shares.
        while not stopping.wait(0.05):
            met.add(ask(service, request))

    threads = [threading.Thread(target=attack) for _ in range(10)]
    with Neighbour(service) as neighbour:
        quiet = neighbour.watch(QUIET_S)
        with neighbour.watching(QUIET_S) as attacked:
            for thread in threads:
                thread.start()
        stopping.set()
        for thread in threads:
            thread.join()
        require_unharmed(attacked, quiet, neighbour.watch(QUIET_S))
    assert met <= statuses


def test_a_login_of_another_site_is_refused_before_its_form_is_read(service):
    foreign = FORM | {"Sec_Fetch_Site": "cross-site", "Content_Length": "1000"}
    for path in (LOGIN, "/admin/enter"):
        with within(STRANGER_BODY_S / 2):
            assert ask(service, head("POST", path, **foreign)) == 403


def test_changes_in_the_dashboard_are_refused_before_their_form_is_read(service):
    """By the role, without a session, and for what is too long for a form."""
    created = service.client.post("/v1/keys", json={"name": "reader", "role": "reader"}).json()
    bearer = {"Authorization": f"Bearer {created['key']}"}
    length = {"Content_Length": "60000"}
    paths = ["/admin/keys", "/admin/learners/birds/live", "/admin/learners/birds/classes"]
    for path in [*paths, "/admin/learners/birds/try", "/admin/tasks/tsk_1/cancel"]:
        with within(STRANGER_BODY_S / 2):
            assert ask(service, head("POST", path, **FORM, **length, **bearer)) == 403
            assert ask(service, head("POST", path, **FORM, **length)) == 401
    too_long = {"Content_Length": str(65 * KIB), "Authorization": f"Bearer {service.key}"}
    for path in paths:
        assert ask(service, head("POST", path, **FORM, **too_long)) == 413


@harmless
def test_forms_of_separators_with_a_key_are_refused_too(service):
    request = posted(b"&" * 60_000, "/admin/keys", Authorization=f"Bearer {service.key}")
    with Neighbour(service) as neighbour:
        quiet = neighbour.watch(QUIET_S)
        with neighbour.watching(1.0) as attacked:
            met = {ask(service, request) for _ in range(100)}
        require_unharmed(attacked, quiet, neighbour.watch(QUIET_S))
    assert met == {413}


def test_a_made_up_address_of_a_proxy_does_not_evade_the_limit_of_logins(service):
    def log_in(number):
        forwarded = {"X-Forwarded-For": f"203.0.113.{number}"}
        return httpx.post(
            service.url + LOGIN,
            data={"key": f"fil_0_{number}"},
            headers=OWN | forwarded,
            timeout=PACE.scaled(30),
        ).status_code

    assert 429 in [log_in(number) for number in range(30)]
    log_text = (service.folder / "log").read_text()
    assert log_text.count("forwarded_header_ignored") == 1
    assert "FILOPODIA_FORWARDED_ALLOW_IPS=127." in log_text


def test_a_flood_of_logins_is_refused_unread(service):
    def log_in():
        return ask(service, posted(b"key=fil_0_x"))

    wait_until(lambda: {log_in() for _ in range(20)} == {429})
    for _ in range(60):
        log_in()
    with within(STRANGER_BODY_S / 2):
        assert ask(service, head("POST", LOGIN, **FORM, Content_Length="1000")) == 429

"""With a key: bodies that hold memory, and forms of very many fields, beside others who predict."""

import threading

import pytest

from benchmarks.bad_input.service import new_key
from tests.attacks.neighbour import Neighbour, harmless, require_unharmed
from tests.attacks.strangers import connections, head, status_of

pytestmark = pytest.mark.timed(group="attacks and load")

MIB = 1024 * 1024
QUIET_S = 1.5
PREDICTIONS = "/v1/learners/birds/predictions?store=false"
TASKS = "/v1/learners/birds/tasks"


def key_of(service, role, name="attacker"):
    return {"Authorization": f"Bearer {new_key(service.client, role, name)}"}


def send(connection, data):
    """Send, as far as it is read."""
    try:
        connection.sendall(data)
    except OSError:
        return


@pytest.mark.parametrize("n_keys", [1, 3])
@pytest.mark.parametrize(
    "kind", ["image/png", "application/json", "multipart/form-data; boundary=b"]
)
@harmless
def test_bodies_that_never_end(service, kind, n_keys):
    """Much more than all requests together may hold, by one key or several, and a neighbour with another one."""
    keys = [key_of(service, "predictor", f"{n}") for n in range(n_keys)]
    declared, n_connections = 40 * MIB, 6
    piece = b"--b\r\n" + bytes(declared - 1000)
    with Neighbour(service) as neighbour, connections(service, n_connections) as opened:
        quiet = neighbour.watch(QUIET_S)
        with neighbour.watching(3) as attacked:
            threads = []
            for number, connection in enumerate(opened):
                key = keys[number % n_keys]
                send(
                    connection,
                    head(
                        "POST", PREDICTIONS, Content_Length=str(declared), Content_Type=kind, **key
                    ),
                )
                threads.append(threading.Thread(target=send, args=(connection, piece)))
                threads[-1].start()
            for thread in threads:
                thread.join()
        require_unharmed(attacked, quiet)
    with Neighbour(service) as neighbour:
        require_unharmed(neighbour.watch(QUIET_S), quiet)


def field(name, value):
    return b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name, value)


def file(name, value=b"x"):
    return b'--b\r\nContent-Disposition: form-data; name="images"; filename="%s"\r\n\r\n%s\r\n' % (
        name,
        value,
    )


FORMS = {
    "20,008 long labels": (20_008, lambda n: field(b"labels", b"x" * 65_000)),
    "labels of wide letters": (
        20_008,
        lambda n: field(b"labels", b"x" * 60_000 + "\N{ROCKET}".encode()),
    ),
    "long names of files": (20_000, lambda n: file(b"a/" + b"x" * 4000 + b"%d" % n)),
    "a manifest after another": (200, lambda n: field(b"manifest", b" " * 8_000_000)),
}
"""How many parts, and the part of a number."""


@pytest.mark.parametrize(("n_parts", "part_of"), FORMS.values(), ids=FORMS.keys())
@harmless
def test_forms_of_very_many_texts(service, n_parts, part_of):
    """They are refused once they would hold more than all texts of a form may, long before a GiB has come."""
    key = key_of(service, "trainer")
    headers = {"Content_Type": "multipart/form-data; boundary=b", "Transfer_Encoding": "chunked"}
    with Neighbour(service) as neighbour, connections(service, 1) as [connection]:
        quiet = neighbour.watch(QUIET_S)
        service.forget_peak()
        before = service.peak_mib()
        with neighbour.watching(1) as attacked:
            connection.sendall(head("POST", TASKS, **headers, **key))
            for number in range(n_parts):
                part = part_of(number)
                try:
                    connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
                except OSError:
                    break
            status = status_of(connection)
        require_unharmed(attacked, quiet, neighbour.watch(QUIET_S))
    # Wide letters take four times their bytes, more than one key may hold.
    assert status in (0, 413, 503)
    assert service.peak_mib() - before < 100


@harmless
def test_a_form_of_tiny_parts(service):
    key = key_of(service, "trainer")
    body = (
        b"--b\r\nContent-Disposition: form-data; name=labels\r\n\r\na\r\n" * 20_000 + b"--b--\r\n"
    )
    body_head = head(
        "POST",
        TASKS,
        Content_Type="multipart/form-data; boundary=b",
        Content_Length=str(len(body)),
        **key,
    )
    with Neighbour(service) as neighbour, connections(service, 4) as opened:
        quiet = neighbour.watch(QUIET_S)
        with neighbour.watching(2) as attacked:
            for connection in opened:
                connection.sendall(body_head)
            threads = [threading.Thread(target=send, args=(each, body)) for each in opened]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            met = [status_of(connection) for connection in opened]
        require_unharmed(attacked, quiet, neighbour.watch(QUIET_S))
    assert set(met) <= {422, 503}

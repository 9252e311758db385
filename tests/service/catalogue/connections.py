"""Rows 38 to 50 and 116 to 118: bytes on a socket, before and around any body."""

import socket
from itertools import repeat
from time import sleep

import httpx

from tests.factories import make_image
from tests.service.catalogue.rows import Case, Row, accepted, closed, refused
from tests.service.catalogue.wire import MARKER, Answer, read_answer
from tests.waiting import PACE, within

GIB = 1024**3
CHUNK = b"10000\r\n" + bytes(65_536) + b"\r\n"
"""64 KiB in chunked encoding."""
CHUNKED = ("Content-Type: image/png", "Transfer-Encoding: chunked")


def _declared(wire, path, size, kind="image/png"):
    lines = (f"Content-Type: {kind}", f"Content-Length: {size}")
    return wire.raw(wire.head(path, *lines) + b"\r\n")


def _stream(wire, path, size, kind):
    """Send a chunked body until the service has had enough."""
    head = wire.head(path, f"Content-Type: {kind}", "Transfer-Encoding: chunked")
    return wire.raw(head + b"\r\n", repeat=repeat(CHUNK, size // 65_536))


def _tasks(wire):
    return f"/v1/learners/{wire.new_learner()}/tasks"


def _stalled(wire, path):
    lines = (f"Content-Type: {_kind(path)}", "Content-Length: 5000")
    return wire.raw(wire.head(path, *lines) + b"\r\n", b"\x89PNG")


def _slow_head(wire, path):
    return wire.raw(repeat=_trickle(wire.head(path, "Content-Type: image/png")), pause_s=0.02)


def _kind(path):
    return "image/png" if path.endswith("predictions") else "application/zip"


def _slow_body(wire, path):
    lines = (f"Content-Type: {_kind(path)}", "Content-Length: 5000")
    return wire.raw(wire.head(path, *lines) + b"\r\n", repeat=_trickle(make_image()), pause_s=0.02)


def _trickle(data):
    return (data[i : i + 1] for i in range(len(data)))


def _line_breaks_after_a_request(wire):
    """A good request, then line breaks for ever: between requests they mean nothing, and must not keep us waiting."""
    with socket.create_connection(wire.address, timeout=PACE.scaled(15)) as connection:
        connection.sendall(wire.head("/livez", method="GET") + b"\r\n")
        first = read_answer(connection)
        assert first.status == httpx.codes.OK
        connection.sendall(b"\r\n")
        return read_answer(connection)


def _length(value):
    def send(wire):
        return wire.raw(wire.head("/v1/learners", f"Content-Length: {value}") + b"\r\n{}")

    return send


def _both_lengths(wire):
    lines = ("Content-Length: 5", "Transfer-Encoding: chunked")
    return wire.raw(wire.head("/v1/learners", *lines) + b"\r\n0\r\n\r\n")


def _chunked_garbage(wire):
    return wire.raw(wire.head(wire.predictions, *CHUNKED) + f"\r\nzz{MARKER}\r\n".encode())


def _with_headers(*lines):
    return lambda wire: wire.raw(wire.head("/v1/learners", *lines, method="GET") + b"\r\n")


def _endless_header(wire):
    head = wire.head("/v1/learners", method="GET") + b"X-Long: "
    return wire.raw(head, repeat=repeat(b"x" * 65_536, 100))


def _path(length):
    return lambda wire: wire.raw(wire.head("/v1/" + "a" * length, method="GET") + b"\r\n")


def _host(host):
    return lambda wire: wire.raw(wire.head("/v1/learners", method="GET", host=host) + b"\r\n")


def _no_host(wire):
    return wire.raw(b"GET /v1/learners HTTP/1.1\r\n\r\n")


def _gzip(path):
    def send(wire):
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        where = path.format(learner=wire.taught)
        return wire.send("POST", where, content=b"\x1f\x8b" + MARKER.encode(), headers=headers)

    return send


def _not_http(wire):
    return wire.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + MARKER.encode())


def _leave_early(path, kind):
    """Hang up in the middle of a body; what counts is what is left behind, which the harness looks at in the end."""

    def send(wire):
        where = path.format(learner=wire.taught)
        lines = (f"Content-Type: {kind}", "Content-Length: 3000000")
        with socket.create_connection(wire.address) as connection:
            connection.sendall(wire.head(where, *lines) + b"\r\n" + bytes(2_000_000))
            sleep(0.05)
        return Answer(0)

    return send


def _leave_while_it_is_answered(wire):
    data = make_image()
    lines = ("Content-Type: image/png", f"Content-Length: {len(data)}")
    with socket.create_connection(wire.address) as connection:
        connection.sendall(wire.head(wire.predictions, *lines) + b"\r\n" + data)
    return Answer(0)


UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def _upgrade(path):
    return lambda wire: wire.raw(wire.head(path, *UPGRADE, method="GET") + b"\r\n")


def _flood_of_upgrades(wire):
    with within(20):
        for _ in range(100):
            answer = _upgrade("/livez")(wire)
    return answer


def _ranges(wire):
    path = "/admin/static/dashboard.css"
    headers = {"Range": "bytes=" + ",".join(["0-"] * 1000)}
    answer = wire.send("GET", path, headers=headers)
    whole = wire.send("GET", path)
    assert answer.status in (200, 416), answer.status
    assert len(answer.body) <= len(whole.body) + 1000
    return Answer(200, answer.headers, answer.body)


def _ranges_of_an_image(wire):
    """An image that is stored, as any number of parts at once: it comes once."""
    task = wire.send("GET", f"/v1/learners/{wire.taught}/tasks").json()["items"][0]["id"]
    sample = wire.send("GET", f"/v1/tasks/{task}/samples").json()["items"][0]["id"]
    headers = {"Range": "bytes=" + ",".join(["0-"] * 1000)}
    return wire.send("GET", f"/v1/samples/{sample}/image", headers=headers)


def _cases(send, names_and_paths) -> list[Case]:
    return [
        closed(name, lambda wire, p=path: send(wire, p(wire))) for name, path in names_and_paths
    ]


PATHS = (("P", lambda wire: wire.predictions), ("U", _tasks))
MALFORMED = "malformed-request"
HTTP_LEVEL = "refused by the parser, before any header is looked at"

ROWS: dict[int, Row] = {
    39: (
        "2 GB with Content-Length",
        [
            refused("P", lambda wire: _declared(wire, wire.predictions, 2 * GIB), "body-too-large"),
            refused(
                "U",
                lambda wire: _declared(wire, _tasks(wire), 3 * GIB, "application/zip"),
                "body-too-large",
                why="a task may have 2 GiB by default, so it is declared larger",
            ),
        ],
    ),
    40: (
        "2 GB in chunks",
        [
            refused(
                "P",
                lambda wire: _stream(wire, wire.predictions, 2 * GIB, "image/png"),
                "body-too-large",
            ),
            refused(
                "P form",
                lambda wire: _stream(
                    wire, wire.predictions, 2 * GIB, "multipart/form-data; boundary=b"
                ),
                "malformed-multipart",
                why="what is no multipart body is refused as that before it can be too large",
            ),
            refused(
                "U",
                lambda wire: _stream(wire, _tasks(wire), 2 * GIB, "application/zip"),
                "body-too-large",
            ),
        ],
    ),
    41: ("a body that never comes", _cases(_stalled, PATHS)),
    42: (
        "slow headers",
        [
            *_cases(_slow_head, PATHS),
            closed("line breaks between requests", _line_breaks_after_a_request),
            closed("nothing at all", lambda wire: wire.raw(b"")),
        ],
    ),
    43: ("slow body", _cases(_slow_body, PATHS)),
    44: (
        "impossible Content-Length",
        [
            refused("negative", _length("-1"), MALFORMED, why=HTTP_LEVEL),
            refused("text", _length("abc"), MALFORMED, why=HTTP_LEVEL),
            refused("larger than 64 bits", _length("9" * 30), MALFORMED, why=HTTP_LEVEL),
            refused("no HTTP at all", _not_http, MALFORMED, why=HTTP_LEVEL),
        ],
    ),
    45: (
        "Content-Length and Transfer-Encoding",
        [
            refused("both", _both_lengths, MALFORMED, why=HTTP_LEVEL),
            refused("chunks that are none", _chunked_garbage, MALFORMED, why=HTTP_LEVEL),
        ],
    ),
    46: (
        "long header",
        [
            refused("20 KB", _with_headers("X-Long: " + "x" * 20_000), "headers-too-large"),
            refused("100 KB", _with_headers("X-Long: " + "x" * 100_000), "headers-too-large"),
            refused("without end", _endless_header, "headers-too-large"),
        ],
    ),
    47: (
        "5,000 headers",
        [
            refused(
                "short ones",
                _with_headers(*(f"x{i}: y" for i in range(5000))),
                "headers-too-large",
            ),
            refused(
                "20 of 4 KB",
                _with_headers(*(f"x{i}: {'y' * 4000}" for i in range(20))),
                "headers-too-large",
            ),
        ],
    ),
    48: (
        "long path",
        [
            refused("20 KB", _path(20_000), "uri-too-long"),
            refused("200 KB", _path(200_000), "uri-too-long", why="one code for both lengths"),
        ],
    ),
    49: (
        "bad Host",
        [
            refused("with a path", _host("127.0.0.1/" + MARKER), "bad-host"),
            refused("unknown", _host(MARKER), "bad-host"),
            refused("with a space", _host("a b"), "bad-host"),
            refused("empty", _host(""), "bad-host"),
            refused("none", _no_host, "bad-host"),
            refused("two", _with_headers("Host: " + MARKER), "bad-host"),
        ],
    ),
    50: (
        "compressed body",
        [
            refused(
                "P", _gzip("/v1/learners/{learner}/predictions"), "unsupported-content-encoding"
            ),
            refused("U", _gzip("/v1/learners/{learner}/tasks"), "unsupported-content-encoding"),
            refused("J", _gzip("/v1/learners"), "unsupported-content-encoding"),
        ],
    ),
    116: (
        "clients that leave",
        [
            closed("P", _leave_early("/v1/learners/{learner}/predictions", "image/png")),
            closed(
                "P form",
                _leave_early(
                    "/v1/learners/{learner}/predictions", "multipart/form-data; boundary=b"
                ),
            ),
            closed("U", _leave_early("/v1/learners/{learner}/tasks", "application/zip")),
            closed("J", _leave_early("/v1/learners/{learner}/tasks", "application/json")),
            closed("P answered", _leave_while_it_is_answered),
        ],
    ),
    117: (
        "upgrade to WebSocket",
        [
            accepted(
                "where there is a page",
                _upgrade("/v1/learners"),
                200,
                why="RFC 9110 7.8: an upgrade that is not offered is ignored",
            ),
            refused("where there is none", _upgrade("/v1/nothing"), "not-found"),
            accepted("a flood", _flood_of_upgrades, 200, why="as above"),
        ],
    ),
    118: (
        "1,000 ranges at once",
        [
            accepted("of an asset", _ranges, 200, why="a header has room for 16 KiB"),
            accepted("of an image", _ranges_of_an_image, 200),
        ],
    ),
}

"""Sending over HTTP to receivers that really listen: good ones, slow ones, and those that want to lead us elsewhere."""

import socket
import ssl
import time
from dataclasses import replace

import pytest

from service.notifying.addresses import Allowed
from service.notifying.http_sending import HttpSender
from service.notifying.messages import signature_of
from tests.service.notifying.receivers import (
    MESSAGE,
    SECRET,
    make_certificates,
    receiving,
    speaking,
)
from tests.waiting import within

HERE = Allowed.parse(["127.0.0.1"])
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


def sender(allowed=HERE, **options):
    return HttpSender(allowed, user_agent="Filopodia/1", **options)


def to(url):
    return replace(MESSAGE, target=url)


def test_a_message_arrives_with_its_signature(receiver):
    before = int(time.time())
    outcome = sender().send(to(receiver.url))
    assert (outcome.status_code, outcome.error) == (204, None)
    [post] = receiver.posts
    timestamp = int(post.headers["webhook-timestamp"])
    assert before <= timestamp <= time.time()
    expected = signature_of(SECRET, post.headers["webhook-id"], timestamp, post.body)
    assert post.headers["webhook-signature"] == expected
    assert post.path == "/hook"
    assert post.headers["content-type"] == "application/json"
    assert post.headers["user-agent"] == "Filopodia/1"
    assert post.headers["host"] == f"127.0.0.1:{receiver.port}"


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_answer_that_is_no_success_is_said(receiver, status):
    receiver.answer(status, Retry_After="90")
    outcome = sender().send(to(receiver.url))
    assert outcome.status_code == status
    assert outcome.error == f"The receiver answered {status}."
    assert (outcome.retry_after_s, outcome.is_gone) == (90.0, False)


def test_a_receiver_that_is_gone_is_known_by_410(receiver):
    receiver.answer(410)
    assert sender().send(to(receiver.url)).is_gone


def test_a_date_may_say_when_to_come_again(receiver):
    receiver.answer(503, Retry_After="Fri, 01 Jan 2100 00:00:00 GMT")
    assert sender().send(to(receiver.url)).retry_after_s > 1e6
    receiver.answer(503, Retry_After="soon")
    assert sender().send(to(receiver.url)).retry_after_s is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(receiver, status):
    with receiving() as inside:
        receiver.answer(status, Location=inside.url)
        outcome = sender().send(to(receiver.url))
        assert inside.posts == []
    assert "redirects" in outcome.error
    assert outcome.status_code == status


def test_nothing_inside_is_reached_that_nobody_allowed(receiver):
    for host in ("127.0.0.1", "localhost", "2130706433", "127.1", "[::ffff:127.0.0.1]"):
        outcome = sender(Allowed()).send(to(f"http://{host}:{receiver.port}/hook"))
        assert "FILOPODIA_NOTIFY_ALLOW" in outcome.error
    assert receiver.posts == []


def test_a_name_is_resolved_once_and_the_address_that_was_checked_is_used(receiver):
    """A name that leads outside when it is looked at, and inside when it is connected to."""
    asked = []

    def rebinding(host, port):
        asked.append(host)
        return ["192.0.2.1"] if len(asked) == 1 else ["127.0.0.1"]

    outside = Allowed.parse(["192.0.2.1"])
    message = to(f"http://rebinding.example.org:{receiver.port}/hook")
    outcome = sender(outside, ask=rebinding, deadline_s=1.0).send(message)
    assert outcome.error is not None
    assert (asked, receiver.posts) == (["rebinding.example.org"], [])


def test_a_name_that_leads_inside_is_not_connected_to(receiver, monkeypatch):
    real = socket.getaddrinfo

    def lying(host, *args, **kwargs):
        return real("127.0.0.1" if host == "nice.example.org" else host, *args, **kwargs)

    monkeypatch.setattr("socket.getaddrinfo", lying)
    message = to(f"http://nice.example.org:{receiver.port}/hook")
    assert "nice.example.org (127.0.0.1)" in sender(Allowed()).send(message).error
    assert receiver.posts == []
    assert sender(Allowed.parse(["nice.example.org"])).send(message).error is None
    assert receiver.posts[0].headers["host"] == f"nice.example.org:{receiver.port}"


def test_another_address_is_tried_where_one_does_not_answer(receiver):
    with socket.create_server(("127.0.0.1", 0)) as server:
        pass
    assert server.fileno() == -1
    both = Allowed.parse(["127.0.0.0/8"])
    message = to(f"http://two.example.org:{receiver.port}/hook")
    outcome = sender(both, ask=lambda host, port: ["127.0.0.99", "127.0.0.1"]).send(message)
    assert outcome.error is None


def test_proxies_of_the_environment_are_not_asked(receiver, monkeypatch):
    with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert sender().send(to(receiver.url)).error is None
        assert (len(receiver.posts), proxy.posts) == (1, [])


def test_nothing_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    outcome = sender().send(to(f"http://127.0.0.1:{port}/"))
    assert outcome.error == "The receiver cannot be reached: nothing takes the connection."


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 64 + ".invalid"])
def test_a_name_without_an_address_is_said(host):
    outcome = sender().send(to(f"http://{host}/"))
    assert outcome.error == "The receiver's name leads to no address."


@pytest.mark.parametrize("chunks", [(), (b"HTTP/1.1 200 OK\r\n",), (b"x",)])
def test_an_answer_that_comes_drop_by_drop_ends_at_the_deadline(chunks):
    """Each byte would begin the read's own timeout anew."""
    drops = (b"".join(chunks) or b"H",)
    with within(10.0), speaking(*drops, every_s=0.1, endless=True) as port:
        outcome = sender(deadline_s=1.0).send(to(f"http://127.0.0.1:{port}/"))
    assert outcome.error in (
        "The receiver did not answer in time.",
        "The receiver does not speak HTTP as it should.",
    )


def test_an_endless_answer_is_left_alone_once_its_status_is_there():
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    with within(10.0), speaking(ENDLESS, *[chunk] * 1000, endless=True) as port:
        assert sender().send(to(f"http://127.0.0.1:{port}/")).error is None
    with within(10.0), speaking(ENDLESS + b"1\r\nx\r\n", b"1\r\nx\r\n", every_s=0.1) as port:
        assert sender().send(to(f"http://127.0.0.1:{port}/")).error is None


def test_endless_headers_are_refused():
    with speaking(b"HTTP/1.1 200 OK\r\n", *[b"A: " + b"x" * 4096 + b"\r\n"] * 1000) as port:
        outcome = sender().send(to(f"http://127.0.0.1:{port}/"))
    assert outcome.error == "The receiver does not speak HTTP as it should."


def test_a_connection_that_ends_without_an_answer_is_said():
    with speaking(b"") as port:
        outcome = sender().send(to(f"http://127.0.0.1:{port}/"))
    assert outcome.error in (
        "The receiver does not speak HTTP as it should.",
        "The receiver has closed the connection without an answer.",
    )


def test_tls_is_verified_against_the_name_although_the_address_is_pinned(tmp_path):
    server, client = make_certificates(tmp_path, "hooks.example.org")
    seen = []
    server.sni_callback = lambda _, name, __: seen.append(name)
    options = {"tls": client, "ask": lambda host, port: ["127.0.0.1"]}
    with receiving(server) as receiver:
        good = sender(**options).send(to(f"https://hooks.example.org:{receiver.port}/hook"))
        wrong = sender(**options).send(to(f"https://other.example.org:{receiver.port}/hook"))
    assert good.error is None
    assert seen[0] == "hooks.example.org"
    assert receiver.posts[0].headers["host"] == f"hooks.example.org:{receiver.port}"
    assert "certificate cannot be trusted" in wrong.error
    assert "Hostname mismatch" in wrong.error
    assert len(receiver.posts) == 1


def test_a_certificate_of_nobody_we_know_is_refused(tmp_path):
    server, _ = make_certificates(tmp_path, "hooks.example.org")
    ask = {"ask": lambda host, port: ["127.0.0.1"]}
    with receiving(server) as receiver:
        outcome = sender(**ask).send(to(f"https://hooks.example.org:{receiver.port}/hook"))
    assert "certificate cannot be trusted" in outcome.error
    assert receiver.posts == []


def test_an_authority_of_the_operator_is_believed(tmp_path, monkeypatch):
    server, client = make_certificates(tmp_path, "127.0.0.1")
    file = tmp_path / "authority.pem"
    file.write_text(
        "".join(ssl.DER_cert_to_PEM_cert(der) for der in client.get_ca_certs(binary_form=True))
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with receiving(server) as receiver:
        assert sender().send(to(receiver.url.replace("http:", "https:"))).error is None


def test_a_receiver_without_tls_is_not_taken_for_one(receiver):
    outcome = sender().send(to(receiver.url.replace("http:", "https:")))
    assert outcome.error == "The receiver does not speak TLS as it should."

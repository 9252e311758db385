"""When and how long a client pauses before it sends a request again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from service.client import ProblemError, Retries, UnreachableError

RETRIES = Retries()


def problem(status=503, retry_after=None, **body):
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return ProblemError(httpx.Response(status, headers=headers, json=body))


def unreachable(kind):
    return UnreachableError(kind("x", request=httpx.Request("GET", "http://127.0.0.1:9/a")))


def pauses(failure, *, number=0, n=200):
    return [RETRIES.pause_s(number, failure, is_repeatable=True) for _ in range(n)]


def test_pauses_grow_to_a_bound_and_differ():
    for number, longest in ((0, 0.25), (1, 0.5), (2, 1.0), (3, 2.0)):
        waits = pauses(problem(), number=number)
        assert longest / 2 <= min(waits) < max(waits) <= longest
    assert max(RETRIES.backoff_s(30) for _ in range(50)) <= RETRIES.longest_pause_s
    assert pauses(problem(), number=RETRIES.most, n=1) == [None]


def test_what_the_service_asks_for_is_a_lower_bound():
    waits = pauses(problem(retry_after="20"))
    assert 20 <= min(waits) < max(waits) <= 21


def test_retry_after_may_be_a_date():
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    found = problem(retry_after=then).retry_after_s
    assert 28 < found <= 30
    assert problem(retry_after="Wed, 21 Oct 2015 07:28:00 GMT").retry_after_s == 0


@pytest.mark.parametrize("text", ["", "soon", "-1", "1e9", "nan", "²"])
def test_an_odd_retry_after_is_none(text):
    assert problem(retry_after=text.encode()).retry_after_s is None


@pytest.mark.parametrize(
    ("kind", "when_repeatable", "otherwise"),
    [
        (httpx.ConnectError, True, True),
        (httpx.ConnectTimeout, True, True),
        (httpx.ReadError, True, False),
        (httpx.ReadTimeout, True, False),
        (httpx.WriteError, True, False),
        (httpx.RemoteProtocolError, True, False),
        (httpx.LocalProtocolError, False, False),
        (httpx.UnsupportedProtocol, False, False),
    ],
)
def test_only_what_is_safe_is_sent_again(kind, when_repeatable, otherwise):
    failure = unreachable(kind)
    assert (RETRIES.pause_s(0, failure, is_repeatable=True) is not None) == when_repeatable
    assert (RETRIES.pause_s(0, failure, is_repeatable=False) is not None) == otherwise


@pytest.mark.parametrize(
    ("failure", "is_passing"),
    [
        (problem(503, code="overloaded", retryable=True), True),
        (problem(429, code="quota", retryable=True), True),
        (problem(409, code="idempotency-in-progress", retryable=True), True),
        (problem(409, code="learner-busy", retryable=True), False),
        (problem(503, code="blob-damaged", retryable=False), False),
        (problem(500, code="internal", retryable=False), False),
        (problem(502), True),
        (problem(504), True),
        (problem(500), False),
    ],
)
def test_problems_that_pass(failure, is_passing):
    assert failure.is_passing == is_passing

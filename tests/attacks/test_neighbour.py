"""The measure itself: it sees a neighbour that is harmed, and leaves one that is not alone."""

import signal
import threading

import pytest

from tests.attacks.neighbour import (
    TIMES_QUIET,
    Neighbour,
    Spell,
    TooLateError,
    harmless,
    require_unharmed,
)
from tests.waiting import PACE, wait_until


def test_a_quiet_service_does_no_harm(service):
    with Neighbour(service) as neighbour:
        quiet = neighbour.watch(1.0)
        require_unharmed(neighbour.watch(1.0), quiet)


def test_a_service_that_stands_still_is_noticed(service):
    with Neighbour(service) as neighbour:
        quiet = neighbour.watch(1.0)
        # Longer than is allowed, however busy the machine was in the quiet second.
        seconds = max(PACE.scaled(1.0), 1.5 * TIMES_QUIET * quiet.p99_s)
        going_on = threading.Timer(seconds, service.process.send_signal, [signal.SIGCONT])
        with neighbour.watching(0.5) as still:
            service.process.send_signal(signal.SIGSTOP)
            going_on.start()
        going_on.join()
    with pytest.raises(AssertionError, match="p99"):
        require_unharmed(still, quiet)


@pytest.mark.parametrize("status", [0, 500, 503])
def test_an_answer_but_200_is_noticed(status):
    why = f"{status} after 0.0 s: of some kind"
    with pytest.raises(AssertionError, match="of some kind") as noticed:
        require_unharmed(Spell([200, status], [0.01, 0.01], [why]), Spell([200], [0.01]))
    assert not isinstance(noticed.value, TooLateError)


def test_what_would_have_been_too_late_is_harm_when_it_comes_each_time():
    tries = []

    @harmless
    def attack():
        tries.append(1)
        late = Spell([200, 503], [0.01, 5.0], ['503 after 5.0 s: {"code":"overloaded"}'])
        require_unharmed(
            late if len(tries) < needed else Spell([200], [0.01]), Spell([200], [0.01])
        )

    needed = 3
    attack()
    tries.clear()
    needed = 4
    with pytest.raises(TooLateError, match="overloaded"):
        attack()


def test_what_was_refused_is_told(service):
    with Neighbour(service) as neighbour:
        service.client.delete(f"/v1/keys/{key_of(service, 'neighbour')}").raise_for_status()
        wait_until(lambda: neighbour.watch(0.2).refusals)
        refused = neighbour.watch(0.2)
    assert set(refused.statuses) == {401}
    assert '"code"' in refused.refusals[0]
    assert refused.refusals[0].startswith("401 after 0.")


def key_of(service, name):
    """Return the id of the newest key of a name."""
    keys = service.client.get("/v1/keys").json()["items"]
    return [key for key in keys if key["name"] == name and not key["revoked_at"]][-1]["id"]

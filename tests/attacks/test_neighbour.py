"""The measure itself: it sees a neighbour that is harmed, and leaves one that is not alone."""

import signal
import threading

import pytest

from tests.attacks.neighbour import TIMES_QUIET, Neighbour, Spell, require_unharmed
from tests.waiting import PACE


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
    with pytest.raises(AssertionError):
        require_unharmed(Spell([200, status], [0.01, 0.01]), Spell([200], [0.01]))

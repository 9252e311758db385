"""What nobody waits for any more is not done."""

import asyncio
from concurrent.futures import Future

import pytest

from service.intake.deadlines import Deadline


def test_a_deadline_ends_the_waiting_and_drops_what_has_not_begun():
    async def main():
        begun, waiting = Future(), Future()
        begun.set_running_or_notify_cancel()
        deadline = Deadline(0.0)
        deadline.allow(0.01)
        with pytest.raises(TimeoutError):
            await deadline.gather([begun, waiting])
        assert (waiting.cancelled(), begun.cancelled()) == (True, False)
        done = Future()
        done.set_result(3)
        assert await Deadline(60.0).gather([done]) == [3]

    asyncio.run(main())

"""Who has left is not worked for."""

import asyncio
from concurrent.futures import Future

import pytest

from service.http.disconnect import cancel_on_disconnect
from service.problems import Problem


class Client:
    """Stays until it leaves."""

    def __init__(self):
        self.left = asyncio.Event()

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}


async def turn_of_the_loop():
    """Let everything run that can."""
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    await turned.wait()


def test_the_work_of_who_has_left_is_cancelled():
    async def main():
        client, future = Client(), Future()
        asking = asyncio.ensure_future(cancel_on_disconnect(client, asyncio.wrap_future(future)))
        client.left.set()
        with pytest.raises(Problem) as caught:
            await asking
        assert (caught.value.code, future.cancelled()) == ("client-closed", True)

    asyncio.run(main())


def test_who_stays_gets_what_the_work_gives():
    async def main():
        async def work():
            return 7

        async def fail():
            raise Problem("overloaded")

        assert await cancel_on_disconnect(Client(), work()) == 7
        with pytest.raises(Problem, match="More work"):
            await cancel_on_disconnect(Client(), fail())

    asyncio.run(main())


def test_who_cancels_the_request_cancels_it_and_no_client_has_left():
    async def main():
        future = Future()
        asking = asyncio.ensure_future(cancel_on_disconnect(Client(), asyncio.wrap_future(future)))
        await turn_of_the_loop()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert future.cancelled()

    asyncio.run(main())


def test_whose_connection_breaks_has_left():
    class Broken:
        async def receive(self):
            raise OSError("reset")

    async def main():
        with pytest.raises(Problem) as caught:
            await cancel_on_disconnect(Broken(), asyncio.Event().wait())
        assert caught.value.code == "client-closed"

    asyncio.run(main())


def test_who_leaves_when_all_is_done_disturbs_nothing_that_follows():
    async def main():
        client = Client()

        async def work():
            client.left.set()
            return 7

        assert await cancel_on_disconnect(client, work()) == 7
        for _ in range(5):
            await turn_of_the_loop()
        assert asyncio.current_task().cancelling() == 0

    asyncio.run(main())

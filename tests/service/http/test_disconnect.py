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

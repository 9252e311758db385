"""What is written in one turn of the event loop, and when it goes out."""

import asyncio

import pytest

from service.http.lingering_close import MAX_HELD_BYTES, CountingTransport


class Noting:
    """Stands in for a transport: notes what it is told, and has sent nothing yet of what it was given."""

    def __init__(self):
        self.told = []

    def write(self, data):
        self.told.append(data)

    def write_eof(self):
        self.told.append("eof")

    def get_write_buffer_size(self):
        return sum(len(data) for data in self.told if data != "eof")


def told(act):
    """Let a function write in one turn of an event loop; return what was told in that turn, and after the next."""
    noting = Noting()
    outgoing = CountingTransport(noting, lambda: None)

    async def turn():
        act(outgoing)
        at_once = list(noting.told)
        turned = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turned.set_result, None)
        await turned
        return at_once

    return asyncio.run(turn()), noting.told, outgoing


def test_head_and_body_of_an_answer_go_out_together():
    def answer(outgoing):
        outgoing.write(b"head ")
        outgoing.write(b"body")
        assert (outgoing.waiting, outgoing.taken) == (9, 0)

    at_once, in_the_end, outgoing = told(answer)
    assert at_once == []
    assert in_the_end == [b"head body"]
    assert (outgoing.waiting, outgoing.taken) == (9, 0)


@pytest.mark.parametrize(
    "sizes", [[MAX_HELD_BYTES], [5, MAX_HELD_BYTES], [MAX_HELD_BYTES // 4] * 4]
)
def test_much_reaches_the_transport_at_once_which_says_when_enough_waits(sizes):
    at_once, in_the_end, _ = told(lambda out: [out.write(bytes(n)) for n in sizes])
    assert at_once == in_the_end == [bytes(sum(sizes))]


def test_what_follows_much_is_held_again_and_the_order_stays():
    def write(outgoing):
        for part in (b"a", b"b" * MAX_HELD_BYTES, b"c", b"d"):
            outgoing.write(part)

    at_once, in_the_end, _ = told(write)
    assert b"".join(at_once) == b"a" + b"b" * MAX_HELD_BYTES
    assert in_the_end[len(at_once) :] == [b"cd"]


def test_the_end_comes_after_what_was_written():
    def write(outgoing):
        outgoing.write(b"last words")
        outgoing.write_eof()

    at_once, in_the_end, _ = told(write)
    assert at_once == in_the_end == [b"last words", "eof"]

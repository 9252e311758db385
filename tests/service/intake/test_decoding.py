from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from service.intake.decoding import SMALL_BYTES, DecodeMemory

LARGE = 4 * SMALL_BYTES


def test_large_images_wait_for_one_another_and_small_ones_do_not():
    memory = DecodeMemory(2 * LARGE)
    leave, third = Event(), Event()

    def take(size_bytes, entered=None):
        with memory.reserve(size_bytes):
            if entered is not None:
                entered.set()
            leave.wait()

    entered = [Event(), Event()]
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(take, LARGE, event) for event in entered]
        for event in entered:
            event.wait()
        waiting = pool.submit(take, LARGE, third)
        with memory.reserve(SMALL_BYTES - 1):
            assert not third.is_set()
        leave.set()
        for future in (*running, waiting):
            future.result()
    assert third.is_set()


def test_what_an_image_took_is_given_back_when_it_fails():
    memory = DecodeMemory(LARGE)
    for _ in range(3):
        with pytest.raises(ValueError, match="damaged"), memory.reserve(LARGE):
            raise ValueError("damaged")

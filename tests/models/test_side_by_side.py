"""Independent steps at once: in order, on threads of their own, with the bits of one after the other."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from models.side_by_side import on_one_thread, side_by_side

A_WHILE_S = 60.0


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _axes(seed: int) -> Tensor:
    x = torch.randn(96, 96, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.eigh(x @ x.T).eigenvectors


def test_bits_do_not_depend_on_what_goes_beside() -> None:
    torch.set_num_threads(1)
    alone = [_axes(seed) for seed in range(5)]
    torch.set_num_threads(2)

    beside = side_by_side(_axes, range(5))

    assert all(torch.equal(one, other) for one, other in zip(alone, beside, strict=True))


def test_parts_share_the_threads_and_the_caller_keeps_its_own() -> None:
    torch.set_num_threads(4)
    met = threading.Barrier(2)

    def look(_: int) -> tuple[int, bool]:
        met.wait(A_WHILE_S)  # both parts are under way at once
        return torch.get_num_threads(), torch.is_grad_enabled()

    assert side_by_side(look, [0, 1]) == [(2, False), (2, False)]
    assert torch.get_num_threads() == 4
    new: list[int] = []
    thread = threading.Thread(target=lambda: new.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert new == [4], "what other threads begin with was left changed"


def test_one_thread_works_through_the_parts_itself() -> None:
    torch.set_num_threads(1)

    assert side_by_side(lambda _: threading.get_ident(), [0, 1]) == [threading.get_ident()] * 2
    assert side_by_side(_axes, []) == []


def test_what_a_part_raises_is_raised() -> None:
    torch.set_num_threads(2)

    def fail(part: int) -> None:
        raise ValueError(part)

    with pytest.raises(ValueError, match="0"):
        side_by_side(fail, [0, 1])


def test_on_one_thread_is_over_when_it_is_left():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with on_one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 2, "later threads begin as before"
    finally:
        torch.set_num_threads(before)

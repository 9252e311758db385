"""Independent steps of small tensors at once: each in a thread of its own, with its share of PyTorch's threads.

A step on a small matrix hardly gains by a second thread, and waits for it as long as a busy machine lets it. Several
such steps beside each other need not wait for one another. What comes out is the same as one after the other: nothing
is shared but what is only read.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Return what the work makes of each part, in order, without gradients.

    Args:
        work: Changes nothing that another part reads.
        parts: Each of them needs memory of its own while it is worked on.
    """
    n_threads = torch.get_num_threads()
    n_at_once = min(len(parts), n_threads)
    if n_at_once < 2:
        with torch.no_grad():
            return [work(part) for part in parts]

    def alone(part: Part) -> Result:
        torch.set_num_threads(n_threads // n_at_once)  # of this thread
        with torch.no_grad():
            return work(part)

    try:
        with ThreadPoolExecutor(n_at_once, thread_name_prefix="side-by-side") as pool:
            return list(pool.map(alone, parts))
    finally:
        torch.set_num_threads(n_threads)  # what other new threads begin with


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Let PyTorch compute on the calling thread alone.

    Long work of many small products beside other work: threads that wait for one another would mostly spin.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)

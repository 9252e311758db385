import threading
from concurrent.futures import CancelledError

import pytest

from service.fairness import FairPool, FairQueue
from tests.waiting import wait_until


def taken(queue):
    return [queue.take() for _ in range(len(queue))]


def test_a_small_piece_of_another_owner_is_served_before_the_rest_of_a_long_lane():
    queue = FairQueue()
    for index in range(5):
        queue.put("greedy", 100, f"large {index}")
    assert queue.take() == "large 0"
    queue.put("other", 1, "small")
    assert taken(queue) == ["small", "large 1", "large 2", "large 3", "large 4"]
    assert not queue


def test_owners_get_as_much_by_cost_whatever_the_number():
    queue = FairQueue()
    for index in range(6):
        queue.put("coarse", 40, ("coarse", index))
        for _ in range(4):
            queue.put("fine", 10, ("fine", index))
    first = [queue.take()[0] for _ in range(10)]
    assert (first.count("coarse"), first.count("fine")) == (2, 8)


def test_whoever_was_idle_has_nothing_saved_and_owes_what_he_had():
    queue = FairQueue()
    for index in range(4):
        queue.put("a", 1, f"a{index}")
    queue.put("b", 1, "b0")
    assert {queue.take(), queue.take()} == {"a0", "b0"}
    queue.put("late", 1, "late")
    queue.put("b", 1, "b1")
    assert set(taken(queue)[:3]) == {"a1", "b1", "late"}


def test_what_is_ahead_counts_of_others_only_what_is_served_before():
    queue = FairQueue()
    assert queue.ahead("b", 5) == 0
    for index in range(100):
        queue.put("a", 10, index)
    assert queue.ahead("b", 5) <= 20
    assert queue.ahead("b", 300) <= 310
    assert queue.ahead("a", 5) == 1000


def test_those_that_fit_are_taken_wherever_they_wait_and_the_others_stay():
    queue = FairQueue()
    for owner, values in (("a", [1, 2, 3]), ("b", [4, 5])):
        for value in values:
            queue.put(owner, 1, value)
    assert queue.take_fitting(lambda value: value % 2 == 1) == [1, 3, 5]
    assert sorted(taken(queue)) == [2, 4]
    assert queue.take_fitting(lambda value: True) == []


@pytest.fixture
def pool():
    pool = FairPool(1, "tested", unit_s=0.01)
    yield pool
    pool.close()


def busy(pool, owner="a"):
    """Occupy the thread; returns what lets it go."""
    entered, gate = threading.Event(), threading.Event()

    def work():
        entered.set()
        gate.wait()

    pool.submit(owner, 1, work)
    entered.wait()
    return gate


def test_results_and_errors_come_back(pool):
    def fail():
        raise ValueError("damaged")

    assert pool.submit("a", 1, lambda: 7).result() == 7
    with pytest.raises(ValueError, match="damaged"):
        pool.submit("a", 1, fail).result()
    assert pool.submit("a", 1, lambda: 8).result() == 8


def test_what_nobody_waits_for_is_not_done_and_holds_up_nobody(pool):
    gate, done = busy(pool), []
    dropped = [pool.submit("a", 50, lambda: done.append("dropped")) for _ in range(5)]
    kept = pool.submit("b", 1, lambda: done.append("kept"))
    assert pool.n_waiting == 6
    assert all(future.cancel() for future in dropped)
    assert pool.n_waiting == 1
    assert pool.wait_s("a", 1) < 1
    gate.set()
    kept.result()
    assert done == ["kept"]


def test_the_wait_is_told_by_what_work_costs(pool):
    gate = busy(pool)
    for _ in range(10):
        pool.submit("a", 100, lambda: None)
    assert pool.wait_s("a", 1) == pytest.approx(10.01)
    assert pool.wait_s("b", 1) < 2
    gate.set()
    wait_until(lambda: pool.n_waiting == 0)
    wait_until(lambda: pool.wait_s("a", 1) == 0)
    assert pool.own_s(100) < 1


def test_a_pool_that_closes_drops_what_waits():
    pool = FairPool(1, "tested", unit_s=0.01)
    gate = busy(pool)
    waiting = pool.submit("a", 1, lambda: None)
    closing = threading.Thread(target=pool.close)
    closing.start()
    with pytest.raises(CancelledError):
        waiting.result()
    gate.set()
    closing.join()
    with pytest.raises(RuntimeError):
        pool.submit("a", 1, lambda: None)

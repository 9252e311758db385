import pytest

from benchmarks.resume import Protocol, measure


@pytest.mark.slow
@pytest.mark.chaos
def test_an_attempt_after_a_kill_publishes_the_same_artifact():
    (kill,) = measure(Protocol(config={"epochs": 150}, checkpoint_s=0.2), n_kills=1, seed=0)
    assert kill.is_equal

import pytest

from registry.blobs.store import LocalBlobStore
from service.disk import LEAST_S, READINGS, Disk


@pytest.fixture
def disk(tmp_path):
    return Disk(LocalBlobStore(tmp_path))


def test_what_is_free_is_read_and_no_rate_is_known_at_first(disk):
    state = disk.look()
    assert 0 < state.free_bytes <= state.total_bytes
    assert state.full_in_s is None


def test_the_time_until_it_is_full_follows_the_rate_since_the_oldest_reading(disk):
    assert disk.note(0.0, 1000) is None
    assert disk.note(LEAST_S / 2, 900) is None
    # 200 bytes in an hour: 800 last four hours.
    assert disk.note(LEAST_S, 800) == pytest.approx(4 * LEAST_S)


def test_a_disk_that_gets_emptier_is_never_full(disk):
    disk.note(0.0, 1000)
    assert disk.note(LEAST_S, 1500) is None


def test_only_the_last_week_counts(disk):
    for hour in range(READINGS):
        disk.note(3600.0 * hour, 10**9)
    for hour in range(READINGS, 2 * READINGS):
        left = disk.note(3600.0 * hour, 10**9 - (hour - READINGS) * 1000)
    assert left == pytest.approx((10**9 - (READINGS - 1) * 1000) / 1000 * 3600)


def test_readings_that_come_at_once_are_one(disk):
    for i in range(1000):
        disk.note(float(i) / 10, 1000)
    assert len(disk._readings) == 1


def test_of_a_store_elsewhere_nothing_is_known():
    assert Disk(object()).look() is None

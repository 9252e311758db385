"""Which connection goes when there are too many, and how many there may be."""

import resource

import pytest

from service.http import connections as module
from service.http.connections import RESERVED, Connections
from service.server import OTHER_FILES, connection_limit


class Fake:
    """A connection without a socket."""

    def __init__(self, address: str = "a", key_id: str | None = None) -> None:
        self.address = address
        self.key_id = key_id
        self.is_cut = self.parts = False

    def cut(self) -> None:
        self.is_cut = True

    def part(self) -> None:
        self.parts = True


@pytest.fixture(autouse=True)
def _no_youth(monkeypatch):
    monkeypatch.setattr(module, "YOUNG_S", -1.0)


def open_all(limit, *found):
    connections = Connections(limit)
    for one in found:
        connections.opened(one)
    return connections


def test_who_holds_the_most_loses_the_oldest():
    early, mine, most = Fake("b"), Fake("c"), [Fake("a") for _ in range(3)]
    open_all(5, early, *most, Fake("b"), mine)
    assert [one.is_cut for one in (early, *most, mine)] == [False, True, False, False, False]


def test_strangers_go_before_keys_and_idle_ones_before_busy_ones():
    known, busy, idle, new = Fake(key_id="k"), Fake("z"), Fake("a"), [Fake("n") for _ in range(3)]
    connections = open_all(3, known, busy, idle)
    connections.began(busy)
    connections.opened(new[0])
    assert (known.is_cut, busy.is_cut, idle.is_cut) == (False, False, True)
    connections.closed(idle)
    connections.began(new[0])
    connections.opened(new[1])
    assert (known.is_cut, busy.is_cut) == (False, True)


def test_a_busy_connection_of_a_key_is_never_cut():
    streams = [Fake() for _ in range(3)]
    connections = open_all(3, *streams)
    for stream in streams:
        connections.began(stream)
        stream.key_id = "k"  # seen once the request is looked at
    connections.opened(Fake())
    assert not any(stream.is_cut for stream in streams)
    assert not connections.is_full
    connections.began(Fake())
    assert connections.is_full


def test_young_ones_are_left_alone_while_there_is_a_reserve(monkeypatch):
    monkeypatch.setattr(module, "YOUNG_S", 600.0)
    found = [Fake() for _ in range(1 + RESERVED + 1)]
    open_all(1, *found)
    assert sum(one.is_cut for one in found) == 1


def test_a_flood_from_many_addresses_is_counted_out_again():
    found = [Fake(str(i)) for i in range(50)]
    connections = open_all(10, *found)
    for one in found:
        connections.closed(one)
    connections.closed(found[0])
    assert (len(connections), connections.n_busy) == (0, 0)


def test_all_part_when_the_service_drains():
    found = [Fake(), Fake(key_id="k")]
    open_all(5, *found).drain()
    assert all(one.parts for one in found)


@pytest.mark.parametrize(
    ("soft", "hard", "limit", "raised"),
    [
        (256, 100_000, 1000, 1000 + RESERVED + OTHER_FILES),
        (50_000, 100_000, 1000, None),
        (256, 800, 800 - RESERVED - OTHER_FILES, 800),
        (256, 300, 16, 300),
        (256, resource.RLIM_INFINITY, 1000, 1000 + RESERVED + OTHER_FILES),
    ],
)
def test_files_bound_connections(monkeypatch, soft, hard, limit, raised):
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: asked.append(both))
    assert connection_limit(1000) == limit
    assert asked == ([] if raised is None else [(raised, hard)])

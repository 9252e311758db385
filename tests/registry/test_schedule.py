import pytest

from registry.errors import SettingsError
from registry.schedule import Schedule
from registry.settings import RegistrySettings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at_once", Schedule("at_once", 0.0)),
        ("idle", Schedule("idle", 7.0)),
        ("by_hand", Schedule("by_hand", 7.0)),
        ("never", Schedule("never", 7.0)),
        ("09:05-17:00", Schedule("hours", 7.0, (545, 1020))),
        ("22:00-06:30", Schedule("hours", 7.0, (1320, 390))),
    ],
)
def test_what_can_be_written(text, expected):
    assert Schedule.parse(text, 7.0) == expected
    assert RegistrySettings.read(consolidate=text, consolidate_idle_s=7.0).schedule == expected


@pytest.mark.parametrize("text", ["", "hours", "sometimes", "24:00-06:00", "9:00-17:00", "22:00"])
def test_what_cannot(text):
    with pytest.raises(ValueError, match="at_once, idle"):
        Schedule.parse(text)


def test_the_environment_is_told_what_can_be_written(monkeypatch):
    monkeypatch.setenv("FILOPODIA_CONSOLIDATE", "sometimes")
    with pytest.raises(SettingsError, match=r"FILOPODIA_CONSOLIDATE.*22:00-06:00"):
        RegistrySettings.read()


def test_only_some_queue_by_themselves():
    queueing = {text: Schedule.parse(text).queues for text in ("at_once", "idle", "01:00-02:00")}
    assert all(queueing.values())
    assert not Schedule.parse("by_hand").queues
    assert not Schedule.parse("never").queues

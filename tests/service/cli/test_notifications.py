"""`filopodia notifications`: added, listed, tried out, turned off and deleted."""

import json

import pytest

from tests.service.notifying.receivers import receiving
from tests.waiting import PACE, wait_until


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"notify_allow": ("127.0.0.1",)})


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def notify(run_as_admin):
    """Returns a function that runs one of the commands, and returns what it prints."""

    def run(*arguments):
        code, printed = run_as_admin("notifications", *arguments)
        assert code == 0, printed
        return printed

    return run


def test_one_is_added_tried_out_and_deleted(notify, receiver):
    rule = ("--label", "heron", "--at-least", 0.8, "--unknown", "--images", 7)
    events = ("--event", "prediction.made", "--event", "unknown.found")
    made = json.loads(notify("add", "pond", receiver.url, *events, *rule, "--json"))
    assert made["secret"].startswith("whsec_")
    assert made["events"] == ["prediction.made", "unknown.found"]
    wanted = {"labels": ["heron"], "min_score": 0.8, "known": False, "min_images": 7}
    assert wanted.items() <= made["rule"].items()
    assert "pond" in notify("list")

    sent = json.loads(notify("test", made["id"], "--json"))
    assert receiver.got.acquire(timeout=PACE.scaled(60))

    def status():
        [one] = json.loads(notify("messages", made["id"], "--json"))
        return one["status"]

    wait_until(lambda: status() == "delivered")
    assert "204" in notify("messages", made["id"])
    notify("send", made["id"], sent["id"])
    assert receiver.got.acquire(timeout=PACE.scaled(60))

    notify("off", made["id"])
    [listed] = json.loads(notify("list", "--json"))
    assert (listed["enabled"], listed["disabled_reason"]) == (False, "Somebody has turned it off.")
    assert " off " in notify("list")
    notify("on", made["id"])
    notify("delete", made["id"], "--yes")
    assert "Nobody is told" in notify("list")

"""Messages as they go out. The signature itself is an example of the specification, in the module's doctest."""

import json
from dataclasses import replace

from service.notifying.messages import body_of, headers_of, signature_of
from tests.service.notifying.receivers import MESSAGE, SECRET


def test_a_message_says_what_and_when():
    assert json.loads(body_of(MESSAGE)) == {
        "type": "prediction.made",
        "timestamp": "2026-01-02T03:04:05+00:00",
        "data": {"a": [1, 2], "b": "Möwe"},
    }


def test_each_try_says_the_same_and_signs_its_own_time():
    again = replace(MESSAGE, attempt=2, data=dict(reversed(MESSAGE.data.items())))
    assert body_of(again) == body_of(MESSAGE)
    first, second = (headers_of(MESSAGE, body_of(MESSAGE), at) for at in (1000, 2000))
    assert first["webhook-id"] == second["webhook-id"] == "msg_1"
    assert first["webhook-signature"] != second["webhook-signature"]
    assert second["webhook-signature"] == signature_of(SECRET, "msg_1", 2000, body_of(MESSAGE))

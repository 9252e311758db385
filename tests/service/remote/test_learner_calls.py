"""How learners are asked for, and changed."""

import json


def test_names_stay_in_their_place(client, script):
    script.add({"name": "x"})
    client.learner("../keys?a=b#c")
    assert script.requests[0][1] == "/v1/learners/..%2Fkeys%3Fa%3Db%23c"


def test_all_pages_are_read(client, script):
    script.add({"items": [{"name": "a"}], "next_cursor": "c1"})
    script.add({"items": [{"name": "b"}], "next_cursor": None})
    assert [learner["name"] for learner in client.learners()] == ["a", "b"]
    assert "cursor=c1" in script.requests[1][1]


def test_the_head_moves_only_when_asked(client, script):
    for move_head in (False, True):
        script.add({"name": "live", "version": 2, "head_version": 2})
        client.move_live("birds", 2, move_head=move_head)
        assert json.loads(script.requests[-1][3]) == {"version": 2, "move_head": move_head}

import json


def sent(script):
    method, path, headers, body = script.requests[-1]
    return method, path, headers, json.loads(body)


def test_unlearn_says_what_is_to_go(client, script):
    script.add({"id": "tsk_1", "status": "queued"}, status=202)
    task = client.unlearn("birds", tasks=[2], classes=["heron"], max_forgetting=0.1)
    method, path, headers, body = sent(script)
    assert (method, path) == ("POST", "/v1/learners/birds/unlearn")
    assert body == {"tasks": [2], "classes": ["heron"], "max_forgetting": 0.1}
    assert len(headers["Idempotency-Key"]) >= 16
    assert task.id == "tsk_1"


def test_unlearn_is_sent_again_under_the_same_key(client, script):
    script.hang_up()
    script.add({"id": "tsk_1", "status": "queued"}, status=202)
    client.unlearn("birds", classes=["heron"])
    first, second = (request[2]["Idempotency-Key"] for request in script.requests)
    assert first == second


def test_the_head_moves_only_when_asked(client, script):
    for move_head in (False, True):
        script.add({"name": "live", "version": 2, "head_version": 2})
        client.move_live("birds", 2, move_head=move_head)
        assert sent(script)[3] == {"version": 2, "move_head": move_head}

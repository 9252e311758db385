"""Hyperparameters that an earlier release accepted, and that nobody may ask for any more."""

import json

from sqlalchemy import update

from registry.tables import LearnerRow
from tests.service.api import image_files


def test_a_learner_with_more_than_is_allowed_now_goes_on(client, app):
    body = {"name": "old", "strategy": "finetune", "backbone": "tiny"}
    config = client.post("/v1/learners", json=body).json()["config"]
    with app.state.context.session_factory.begin() as session:
        old = update(LearnerRow).where(LearnerRow.name == "old")
        session.execute(old.values(config={**config, "epochs": 5000, "bottleneck": 2000}))

    def post(*labels, **asked):
        options = ("options", (None, json.dumps({"config": asked})))
        files = [*image_files(labels), options]
        return client.post("/v1/learners/old/tasks", files=files)

    kept = post("heron", "egret")
    assert kept.status_code == 202, kept.text
    assert kept.json()["config"]["epochs"] == 5000
    assert post("gull", "tern", learning_rate=0.01).status_code == 202
    refused = post("crane", "stork", epochs=4000)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-config")

"""`artsy` with a preset, as earlier releases had both methods: what they stored goes on, and clients may ask so."""

import gzip
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from models.strategies.artsy_gaussian.config import ArtsyGaussianConfig
from models.strategies.artsy_paper.config import ArtsyPaperConfig
from tests.factories import make_image
from tests.service.api import image_files
from tests.service.old_releases.restored import require_equal_answers, restored

OLD = Path(__file__).parent / "presets"
EXPECTED = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))
PICTURES = [make_image(label, 90, 16) for label in ("heron", "egret", "ibis", "owl")]
TAR = {"Content-Type": "application/x-tar"}
QUICK = {"epochs": 1, "bottleneck": 2}


@pytest.fixture
def old(postgres, settings, tmp_path):
    with restored(OLD, postgres, settings, tmp_path) as installation:
        yield installation


def own(config):
    """Return a configuration of before in the words of today, its preset named still."""
    kind = ArtsyPaperConfig if config["preset"] == "paper" else ArtsyGaussianConfig
    told = {key: config[key] for key in asdict(kind()) if config[key] is not None}
    return {"preset": config["preset"], **asdict(kind(**told))}


def create(client, strategy, config, name="fish"):
    body = {"name": name, "strategy": strategy, "backbone": "tiny", "config": config}
    return client.post("/v1/learners", json=body)


def wait_until_served(client, name):
    """Let the service load version 1: here it shares PyTorch's random numbers with what learns next."""
    files = [("images", ("a.png", PICTURES[0], "image/png"))]
    answer = client.post(f"/v1/learners/{name}/predictions?min_version=1", files=files)
    assert answer.status_code == 200, answer.text


def test_what_was_stored_reads_and_answers_as_it_did(old):
    for name in ("perch", "pike", "char"):
        before = EXPECTED[name]
        learner = old.read(f"/v1/learners/{name}")
        # What waits to be consolidated, and how sure accuracies are, is told since.
        assert learner.pop("consolidation") is None
        measures = learner["accuracy"].pop("measures")
        assert learner == before["learner"]
        last = measures["last"]
        assert (last and last["value"]) == before["learner"]["accuracy"]["last"]
        versions = old.read(f"/v1/learners/{name}/versions")["items"]
        kept = [{key: item[key] for key in before["versions"][0]} for item in versions]
        assert kept == before["versions"]
        if before["version"]:
            found = old.answers(name, before["version"], PICTURES, trace="full")
            require_equal_answers(found, before["answers"])
            routes = [
                [(answer["route"][key]) for key in ("functional", "silent", "passes")]
                for answers in (found, before["answers"])
                for answer in answers
            ]
            assert routes[:4] == routes[4:]


def test_a_task_that_waited_is_learned_and_others_after_it(old):
    """`perch` is of the paper's method; its third task was queued before."""
    (waiting,) = old.read("/v1/learners/perch/tasks?status=queued")["items"]

    task = old.learn(waiting["id"])

    assert (task["status"], task["version"]) == ("succeeded", 4), task
    learned = old.client.post("/v1/learners/perch/tasks", files=image_files(("coot",), 4))
    assert old.learned(learned)["version"] == 5
    unlearned = old.client.post("/v1/learners/perch/unlearn", json={"classes": ["crane"]})
    assert old.learned(unlearned)["version"] == 6
    version = old.read("/v1/learners/perch/versions/6")
    assert version["classes"] == ["heron", "ibis", "owl", "stork", "coot"]
    learner = old.read("/v1/learners/perch")
    assert (learner["strategy"], learner["config"]) == (
        "artsy",
        EXPECTED["perch"]["learner"]["config"],
    )
    # A version says what it was learned with in the words of today, and unlearning keeps to them.
    assert version["config"] == own(learner["config"])


@pytest.mark.parametrize("name", ["pike", "char"])
def test_the_default_of_before_learns_and_unlearns(old, name):
    head = EXPECTED[name]["version"]
    for n, labels in enumerate((("coot", "crane"), ("stork",)), start=1):
        task = old.learned(
            old.client.post(f"/v1/learners/{name}/tasks", files=image_files(labels, 4))
        )
        assert (task["status"], task["version"]) == ("succeeded", head + n), task
    unlearned = old.client.post(f"/v1/learners/{name}/unlearn", json={"classes": ["crane"]})
    assert old.learned(unlearned)["version"] == head + 3
    version = old.read(f"/v1/learners/{name}/versions/{head + 3}")
    assert version["config"] == own(EXPECTED[name]["learner"]["config"])


def test_a_bundle_of_before_comes_in_answers_learns_on_and_goes_out_again(old):
    bundle = gzip.decompress((OLD / "perch.bundle.gz").read_bytes())

    brought = old.client.post(
        "/v1/learners/import", content=bundle, params={"name": "bass"}, headers=TAR
    )

    assert brought.status_code == 201, brought.text
    config = own(EXPECTED["perch"]["learner"]["config"])
    assert (brought.json()["strategy"], brought.json()["config"]) == ("artsy", config)
    assert old.read("/v1/learners/bass/versions/1")["config"] == config
    require_equal_answers(old.answers("bass", 1, PICTURES), EXPECTED["bundle"]["answers"])
    task = old.learned(old.client.post("/v1/learners/bass/tasks", files=image_files(("coot",), 4)))
    assert (task["status"], task["version"]) == ("succeeded", 2), task

    # A learner spelled as before, a version written as today.
    again = old.client.get("/v1/learners/bass/versions/2/bundle").content
    once_more = old.client.post(
        "/v1/learners/import", content=again, params={"name": "carp"}, headers=TAR
    )

    assert once_more.status_code == 201, once_more.text
    assert (once_more.json()["strategy"], once_more.json()["config"]) == ("artsy", config)
    assert old.answers("carp", 1, PICTURES) == old.answers("bass", 2, PICTURES)


@pytest.mark.parametrize(
    ("preset", "strategy", "kind"),
    [
        ("paper", "artsy_paper", ArtsyPaperConfig),
        ("consolidated", "artsy_gaussian", ArtsyGaussianConfig),
    ],
)
def test_a_preset_is_a_spelling_of_a_strategy(client, learn, preset, strategy, kind):
    spelled = create(client, "artsy", {"preset": preset, **QUICK}, "spelled")
    named = create(client, strategy, QUICK, "named")

    config = asdict(kind(**QUICK))
    assert spelled.json()["strategy"] == "artsy"
    assert spelled.json()["config"] == {"preset": preset, **config}
    assert (named.json()["strategy"], named.json()["config"]) == (strategy, config)
    sums = []
    for name in ("spelled", "named"):
        task = client.post(f"/v1/learners/{name}/tasks", files=image_files(("a", "b"), 4)).json()
        learn(task["id"])
        wait_until_served(client, name)
        version = client.get(f"/v1/learners/{name}/versions/1").json()
        sums.append(version["artifact_sha256"])
    assert sums[0] == sums[1]


def test_a_whole_configuration_of_before_makes_the_same_learner(client):
    for name in ("perch", "pike", "char"):
        before = EXPECTED[name]["learner"]["config"]

        answer = create(client, "artsy", before, name)

        assert (answer.status_code, answer.json()["config"]) == (201, own(before)), answer.text


def test_the_gaussian_form_without_a_preset_goes_on_as_it_was_made(client, learn):
    """The release before this one stored such configurations, and `artsy` meant them."""
    before = asdict(ArtsyGaussianConfig(**QUICK))
    assert create(client, "artsy", before).json()["config"] == before
    assert create(client, "artsy_gaussian", QUICK, "named").json()["config"] == before
    sums = []
    for name in ("fish", "named"):
        task = client.post(f"/v1/learners/{name}/tasks", files=image_files(("a", "b"), 4)).json()
        assert task["config"] == before
        learn(task["id"])
        wait_until_served(client, name)
        version = client.get(f"/v1/learners/{name}/versions/1").json()
        assert version["config"] == before
        sums.append(version["artifact_sha256"])
    assert sums[0] == sums[1]


@pytest.mark.parametrize(
    ("config", "asked", "epochs", "preset"),
    [
        ({"bottleneck": 2}, {}, 8, None),
        ({"bottleneck": 2}, {"preset": "paper"}, 20, "paper"),
        ({"bottleneck": 2}, {"preset": "consolidated"}, 8, "consolidated"),
        ({"bottleneck": 2, "epochs": 3}, {"preset": "paper"}, 3, "paper"),
        ({"preset": "paper", "bottleneck": 2}, {"epochs": 5}, 5, "paper"),
        ({"preset": "paper", "bottleneck": 2}, {"preset": "consolidated"}, 8, "consolidated"),
    ],
)
def test_a_task_may_name_a_preset(client, config, asked, epochs, preset):
    assert create(client, "artsy", config).status_code == 201
    files = image_files(("a", "b"), 4)

    task = client.post("/v1/learners/fish/tasks", files=files, params={"config": json.dumps(asked)})

    assert task.status_code == 202, task.text
    found = task.json()["config"]
    assert (found["bottleneck"], found["epochs"], found.get("preset")) == (2, epochs, preset)


@pytest.mark.parametrize(
    ("strategy", "config", "pointer"),
    [
        ("artsy", {"preset": "papers"}, "/config/preset"),
        ("artsy", {"preset": ["paper"]}, "/config/preset"),
        ("artsy", {"preset": "paper", "synapse_epochs": 1001}, "/config/synapse_epochs"),
        ("artsy", {"preset": "paper", "gate": "frozen"}, "/config/gate"),
        ("artsy_paper", {"preset": "paper"}, "/config/preset"),
        ("artsy_paper", {"max_routed": 1}, "/config/max_routed"),
        ("ease", {"preset": "paper"}, "/config/preset"),
    ],
)
def test_refuses_what_was_never_a_spelling(client, strategy, config, pointer):
    answer = create(client, strategy, config)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-config")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_a_bundle_of_a_task_with_a_preset_comes_in(old):
    """`char` is of the default, and its first task names the paper's method: that was possible, so it is."""
    files = image_files(("a", "b"), 4)
    asked = {"config": '{"preset": "paper", "epochs": 1}'}
    task = old.client.post("/v1/learners/char/tasks", files=files, params=asked)
    assert old.learned(task)["version"] == 1
    bundle = old.client.get("/v1/learners/char/versions/1/bundle").content

    brought = old.client.post(
        "/v1/learners/import", content=bundle, params={"name": "bass"}, headers=TAR
    )

    assert brought.status_code == 201, brought.text
    assert old.read("/v1/learners/bass/versions/1")["config"]["preset"] == "paper"
    assert old.answers("bass", 1, PICTURES) == old.answers("char", 1, PICTURES)

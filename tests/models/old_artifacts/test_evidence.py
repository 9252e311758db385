"""What the strategy stored before it kept how the classes of a background differ loads, answers equally and goes on."""

import json
import zipfile

import pytest
import torch

from models import admission, artifact
from models.backbone import load_backbone
from models.errors import CheckpointError
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.strategy import Artsy
from tests.models.old_artifacts.then import OLD, answers, assert_as_then, task


@pytest.fixture
def stored():
    with zipfile.ZipFile(OLD / "evidence.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return files.pop("manifest.json"), files


@pytest.mark.parametrize("load", [artifact.load, admission.admit])
def test_it_answers_as_then(stored, backbone, load):
    manifest, files = stored

    loaded = load(manifest, files.__getitem__, backbone)

    assert type(loaded) is Artsy
    assert loaded.reference.mean.any()
    assert not len(loaded.reference.between)
    then = json.loads((OLD / "evidence.json").read_text("utf-8"))["loaded"]
    novelty, now = (torch.tensor(said["novelty"]) for said in (then, answers(loaded)))
    # Few rows make a steep scale: a distance that differs in the seventh digit is a share that does in the fourth.
    assert torch.allclose(now, novelty, atol=1e-3)
    assert_as_then(loaded, {name: then[name] for name in then.keys() - {"novelty"}})


def test_it_learns_on_unlearns_and_is_stored_again(stored, backbone):
    manifest, files = stored
    loaded = artifact.load(manifest, files.__getitem__, backbone)

    loaded.learn(task(3, "e", "a"))
    loaded.unlearn(classes=["b"])

    again = artifact.pack(loaded, seed=7, code_versions={})
    reloaded = artifact.load(again.manifest, again.files.__getitem__, backbone)
    assert answers(reloaded) == answers(loaded)
    assert loaded.classes_ == ("a", "n", "c", "m", "e")


@pytest.mark.parametrize("name", ["between", "deviations"])
def test_one_half_of_what_came_later_is_refused(name):
    backbone = load_backbone("tiny", weights=OLD.parent / "old_backgrounds")
    loaded = Artsy(backbone, ArtsyConfig(adapt="never"))
    loaded.learn(task(1, "a", "b", "n"))
    state = loaded.state_dict()
    assert {"reference.between", "reference.deviations"} <= state.keys()
    del state[f"reference.{name}"]
    again = Artsy(backbone, loaded.config)
    again.classes_, again.class_tasks_ = loaded.classes_, loaded.class_tasks_
    again.task_indexes_ = loaded.task_indexes_

    with pytest.raises(CheckpointError):
        again.load_state_dict({key: torch.clone(value) for key, value in state.items()})

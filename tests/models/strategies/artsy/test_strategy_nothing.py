"""Pictures of nothing come with the background, and answers are those of a learner that embeds them itself."""

from pathlib import Path

import pytest
import torch

from models.backbone import Backbone, Pooling, load_backbone
from models.background import add_nothing
from models.background_files import SUFFIX
from models.nothing import embed_nothing
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.strategy import Artsy

OLD = Path(__file__).parents[2] / "old_backgrounds"


@pytest.fixture(scope="module")
def completed(tmp_path_factory) -> Backbone:
    """The backbone whose background holds the pictures."""
    folder = tmp_path_factory.mktemp("backgrounds")
    pictures = embed_nothing(load_backbone("tiny"), "token_and_patches")
    data = add_nothing((OLD / f"tiny{SUFFIX}").read_bytes(), pictures)
    (folder / f"tiny{SUFFIX}").write_bytes(data)
    return load_backbone("tiny", weights=folder)


@pytest.mark.parametrize("pooling", ["token_and_patches", "backbone"])
def test_answers_are_those_of_a_background_of_before(completed, make_task, pooling: Pooling):
    task = make_task(1, ("red", "green", "blue"), n=5, n_held_out=4)
    learners = [
        Artsy(backbone, ArtsyConfig(pooling=pooling))
        for backbone in (load_backbone("tiny", weights=OLD), completed)
    ]
    for learner in learners:
        learner.learn(task)

    before, now = (learner.state_dict() for learner in learners)
    assert before.keys() == now.keys()
    assert before["reference.nothing"].dtype == now["reference.nothing"].dtype
    images = torch.cat([task.images, task.held_out_images])
    old, new = (learner.predict(images) for learner in learners)
    torch.testing.assert_close(new.probabilities, old.probabilities, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(new.novelty, old.novelty, rtol=1e-4, atol=1e-5)


def test_the_first_task_embeds_no_image_but_its_own(completed, make_task):
    task = make_task(1, ("red", "green", "blue"), n=5, n_held_out=0)
    seen: list[int] = []
    hook = completed.vit.patch_embed.register_forward_pre_hook(
        lambda _, given: seen.append(len(given[0]))
    )

    Artsy(completed, ArtsyConfig()).learn(task)

    hook.remove()
    assert sum(seen) == len(task.images) == 15


def test_a_learner_of_before_goes_on(completed, make_task):
    first = make_task(1, ("red", "green"), n=5, n_held_out=3)
    old = Artsy(load_backbone("tiny", weights=OLD), ArtsyConfig())
    old.learn(first)

    new = Artsy(completed, ArtsyConfig())
    new.classes_ = list(old.classes_)
    new.class_tasks_ = list(old.class_tasks_)
    new.task_indexes_ = old.task_indexes_
    new.load_state_dict(old.state_dict())

    assert torch.equal(
        new.predict(first.images).probabilities, old.predict(first.images).probabilities
    )
    second = make_task(2, ("blue",), n=5, n_held_out=3)
    for learner in (old, new):
        learner.learn(second)
    assert torch.equal(new.state_dict()["reference.nothing"], old.state_dict()["reference.nothing"])
    assert new.classes_ == ["red", "green", "blue"]

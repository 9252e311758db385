import torch

from models import artifact
from models.strategies.finetune import Finetune, FinetuneConfig
from models.strategies.joint import Joint, JointConfig
from models.strategies.values import Task

QUICK = {"epochs": 2, "bottleneck": 8}


def joint(backbone, *tasks: Task) -> Joint:
    strategy = Joint(backbone, JointConfig(**QUICK))
    for task in tasks:
        strategy.learn(task)
    return strategy


def accuracy(strategy, task: Task) -> float:
    answers = strategy.predict_logits(task.held_out_images).argmax(dim=1)
    return float((answers == strategy.targets(task.held_out_labels)).float().mean())


def test_task_by_task_equals_everything_at_once_to_the_bit(backbone, make_task):
    first, second = make_task(1, ("a", "b", "c")), make_task(2, ("d", "b"), n=5)
    everything = Task(
        index=2,
        images=torch.cat([first.images, second.images]),
        labels=first.labels + second.labels,
        seed=second.seed,
    )

    by_task, at_once = joint(backbone, first, second), joint(backbone, everything)

    images = torch.cat([first.held_out_images, second.held_out_images])
    assert torch.equal(by_task.predict_logits(images), at_once.predict_logits(images))


def test_a_version_adds_its_images_and_shares_the_older_ones(backbone, make_task):
    strategy = joint(backbone, make_task(1, ("a", "b")))
    before = artifact.pack(strategy, seed=7, code_versions={})
    strategy.learn(make_task(4, ("c",)))
    after = artifact.pack(strategy, seed=7, code_versions={})

    images = strategy.state_dict()
    assert torch.equal(images["tasks.1.images"], make_task(1, ("a", "b")).images)
    assert torch.equal(images["tasks.4.images"], make_task(4, ("c",)).images)
    assert len(set(before.files) & set(after.files)) == 1
    assert len(after.files) == 3


def test_does_not_forget_where_finetune_does(backbone, make_task):
    tasks = [make_task(1, ("a", "b")), make_task(2, ("c", "d")), make_task(3, ("e", "f"))]
    finetune = Finetune(backbone, FinetuneConfig(epochs=8, bottleneck=8))
    together = Joint(backbone, JointConfig(epochs=8, bottleneck=8))
    for task in tasks:
        finetune.learn(task)
        together.learn(task)

    assert accuracy(together, tasks[0]) > accuracy(finetune, tasks[0])


def test_says_that_it_keeps_images():
    assert Joint.keeps_images
    assert not Finetune.keeps_images
    assert "all images" in Joint.summary

import math

import pytest
import torch

from models.errors import ConfigError
from models.strategies.finetune import Finetune, FinetuneConfig
from models.strategies.lwf import LwF, LwFConfig, distillation_loss

QUICK = {"epochs": 2, "bottleneck": 8}


def test_nothing_is_lost_where_the_answers_agree():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)

    # Shifting all logits of an image changes no answer.
    loss = distillation_loss(logits, logits.detach() + 3, temperature=2)
    loss.backward()

    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert torch.allclose(logits.grad, torch.zeros(5, 4), atol=1e-6)


def test_the_loss_is_the_divergence_of_softened_answers():
    old, new = torch.tensor([[2 * math.log(3), 0.0]]), torch.tensor([[0.0, 0.0]])

    loss = distillation_loss(new, old, temperature=2)

    # Softened by 2 the old answer is 3/4 and 1/4, the new one a half each.
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_pulls_towards_the_old_answer():
    old, new = torch.tensor([[1.0, -1.0]]), torch.tensor([[-1.0, 1.0]], requires_grad=True)

    distillation_loss(new, old, temperature=2).backward()

    assert new.grad[0, 0] < 0 < new.grad[0, 1]


def test_without_distillation_among_all_classes_it_is_finetune_to_the_bit(backbone, make_task):
    tasks = [make_task(1, ("a", "b")), make_task(2, ("c",)), make_task(3, ("d", "a", "e"))]
    plain = Finetune(backbone, FinetuneConfig(**QUICK))
    strategy = LwF(backbone, LwFConfig(distillation=0, softmax="all", **QUICK))
    for task in tasks:
        plain.learn(task)
        strategy.learn(task)

    images = torch.cat([task.held_out_images for task in tasks])
    assert torch.equal(strategy.predict_logits(images), plain.predict_logits(images))


@pytest.mark.parametrize("softmax", ["all", "task"])
def test_the_more_weight_old_answers_have_the_less_they_move(backbone, make_task, softmax):
    first, second = make_task(1, ("a", "b", "c")), make_task(2, ("d", "e"))
    moved = []
    for weight in (0.0, 10.0):
        config = LwFConfig(distillation=weight, softmax=softmax, epochs=8, bottleneck=8)
        strategy = LwF(backbone, config)
        strategy.learn(first)
        before = strategy.predict_logits(second.images)
        strategy.learn(second)
        after = strategy.predict_logits(second.images)[:, :3]
        moved.append(float(distillation_loss(after, before, temperature=2)))

    assert moved[1] < moved[0] / 2


def test_old_tasks_are_still_answered_where_finetune_answers_the_newest_only(backbone, make_task):
    tasks = [make_task(1, ("a", "b")), make_task(2, ("c", "d")), make_task(3, ("e", "f"))]
    plain = Finetune(backbone, FinetuneConfig(epochs=8, bottleneck=8))
    strategy = LwF(backbone, LwFConfig(epochs=8, bottleneck=8))
    for task in tasks:
        plain.learn(task)
        strategy.learn(task)

    images = torch.cat([task.held_out_images for task in tasks[:2]])
    targets = plain.targets(tasks[0].held_out_labels + tasks[1].held_out_labels)

    def known(learned) -> float:
        return float((learned.predict_logits(images).argmax(dim=1) == targets).float().mean())

    assert known(plain) == 0
    assert known(strategy) > 0.3


@pytest.mark.parametrize("field", [{"distillation": -1.0}, {"temperature": 0.0}, {"softmax": "?"}])
def test_refuses_values_out_of_range(field):
    with pytest.raises(ConfigError):
        LwFConfig(**field)

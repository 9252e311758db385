"""Rows that a later move of the features carried along are told apart from those made of the images."""

import pytest

from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.strategy import Artsy
from tests.models.taught import teach


@pytest.mark.parametrize("adapt", ["never", "always"])
def test_rows_are_carried_where_features_moved_after_them(backbone, make_task, adapt):
    learner = Artsy(backbone, ArtsyConfig(adapt=adapt, epochs=1, least_steps=2, bottleneck=4))
    for index, labels in enumerate((("a", "b"), ("c", "d"), ("e", "f")), start=1):
        teach(learner, make_task(index, labels, n=10))
    loaded = Artsy(backbone, learner.config)
    loaded.classes_, loaded.class_tasks_ = learner.classes_, learner.class_tasks_
    loaded.task_indexes_ = learner.task_indexes_
    loaded.load_state_dict(learner.state_dict())

    for one in (learner, loaded):
        found = one.cross_validation()

        moved = found.tasks[found.carried].unique().tolist()
        assert moved == ([1, 2] if adapt == "always" else [])
        assert 3 in found.tasks[~found.carried]

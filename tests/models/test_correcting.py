"""Images that get other labels or are taken out, compared with learners that were taught these labels."""

from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import artifact
from models.correcting import Change, Relabelled, corrected
from models.errors import CorrectionError
from models.shown import MOST_ROWS, FeatureRecords
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.strategy import Artsy
from models.strategies.catalog import CATALOG
from models.strategies.simplecil import SimpleCIL, SimpleCILConfig
from models.strategies.values import Task
from tests.models.taught import consolidate

LABELS = ("a", "b", "c")
N = 4
"""Images a class and task."""
QUICK = {"epochs": 1, "bottleneck": 4, "least_steps": 3}


@dataclass
class Truth:
    """What the images of tasks show, as somebody who looks at them says it."""

    tasks: list[Task]
    labels: dict[int, list[str | None]] = field(init=False)

    def __post_init__(self):
        self.labels = {task.index: list(task.labels) for task in self.tasks}

    def change(self, wanted: dict[tuple[int, int], str | None]) -> list[Relabelled]:
        """Change labels by task and position; return that as a learner is told it."""
        changes = []
        for index, mine in self.labels.items():
            rows = [row for task, row in wanted if task == index and wanted[task, row] != mine[row]]
            before = tuple(mine[row] for row in rows)
            for row in rows:
                mine[row] = wanted[index, row]
            if rows:
                images = next(task.images for task in self.tasks if task.index == index)
                places = tuple(mine[:row].count(mine[row]) for row in rows)
                after = tuple(mine[row] for row in rows)
                changes.append(Relabelled(index, images[rows], before, after, places))
        return changes

    def taught(self) -> list[Task]:
        """Return the tasks as they would have been sent with these labels."""
        return [
            Task(
                task.index,
                task.images[[row for row, label in enumerate(mine) if label]],
                tuple(label for label in mine if label),
                task.held_out_images,
                task.held_out_labels,
                seed=task.seed,
            )
            for task, mine in zip(self.tasks, self.labels.values(), strict=True)
        ]


@pytest.fixture
def tasks(make_task) -> list[Task]:
    """Both show all classes in turn, by other images."""
    every = make_task(1, LABELS, n=2 * N)
    parts = [
        [k * 2 * N + i for i in mine for k in range(3)] for mine in (range(N), range(N, 2 * N))
    ]
    return [
        Task(
            index,
            every.images[rows],
            tuple(every.labels[row] for row in rows),
            every.held_out_images,
            every.held_out_labels,
            seed=7,
        )
        for index, rows in enumerate(parts, start=1)
    ]


def learned(strategy, tasks):
    for task in tasks:
        strategy.learn(task)
    return strategy


def reloaded(strategy, backbone):
    packed = artifact.pack(strategy, seed=7, code_versions={})
    return artifact.load(packed.manifest, packed.files.__getitem__, backbone)


def assert_same(one, other, images, *, atol=1e-5):
    assert one.classes_ == other.classes_
    assert one.class_tasks_ == other.class_tasks_
    assert one.task_indexes_ == other.task_indexes_
    found, expected = one.predict(images), other.predict(images)
    torch.testing.assert_close(found.probabilities, expected.probabilities, atol=atol, rtol=1e-3)
    torch.testing.assert_close(found.novelty, expected.novelty, atol=1e-3, rtol=1e-3)


FREE = [(task, row) for task in (1, 2) for row in range(3 * N) if task == 2 or row >= len(LABELS)]
"""Images that may change: the first one of each class stays, so that one taught so has the classes in this order."""
WANTED = st.dictionaries(st.sampled_from(FREE), st.sampled_from([*LABELS, None]), max_size=6)


@pytest.mark.parametrize("kind", [(Artsy, ArtsyConfig(**QUICK)), (SimpleCIL, SimpleCILConfig())])
@given(steps=st.lists(WANTED, min_size=1, max_size=4))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_it_answers_as_one_that_was_taught_so_and_the_way_back_leads_back(
    backbone, tasks, kind, steps
):
    strategy = learned(kind[0](backbone, kind[1]), tasks)
    images = torch.cat([task.images for task in tasks])
    original, truth = learned(kind[0](backbone, kind[1]), tasks), Truth(tasks)
    for wanted in steps:
        before = {place: truth.labels[place[0]][place[1]] for place in wanted}
        if _is_doable(truth, wanted) and (changes := truth.change(wanted)):
            strategy.correct(changes)
            strategy = reloaded(strategy, backbone)
            taught = learned(kind[0](backbone, kind[1]), truth.taught())
            assert_same_scores(strategy, taught, images)
            strategy.correct(truth.change(before))
            strategy.correct(truth.change(wanted))
    everything = {
        (task.index, row): label for task in tasks for row, label in enumerate(task.labels)
    }
    if changes := truth.change(everything):
        strategy.correct(changes)
    assert_same_scores(strategy, original, images)


def _is_doable(truth: Truth, wanted: dict[tuple[int, int], str | None]) -> bool:
    """Whether each task keeps an image; each class does by the first ones of the first task."""
    trial = Truth(truth.tasks)
    trial.labels = {index: list(mine) for index, mine in truth.labels.items()}
    trial.change(wanted)
    return all(any(mine) for mine in trial.labels.values())


def assert_same_scores(one, other, images):
    """What is calibrated by held-out images when a task is learned stays what it was, and is named as residue."""
    assert one.classes_ == other.classes_
    assert one.class_tasks_ == other.class_tasks_
    if one.cross_validates:
        assert_same(one, other, images)
    else:
        found, expected = one.predict_logits(images), other.predict_logits(images)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_all_that_is_kept_is_what_it_would_be(backbone, tasks):
    strategy, truth = learned(Artsy(backbone, ArtsyConfig(**QUICK)), tasks), Truth(tasks)

    report = strategy.correct(truth.change({(1, 3): "b", (2, 5): "a", (2, 6): None}))

    taught = learned(Artsy(backbone, ArtsyConfig(**QUICK)), truth.taught())
    found, expected = strategy.state_dict(), taught.state_dict()
    assert found.keys() == expected.keys()
    for key in found:
        torch.testing.assert_close(found[key], expected[key], atol=1e-3, rtol=1e-3)
    assert torch.equal(found["tasks.1.records.kept"], expected["tasks.1.records.kept"])
    assert (report.n_moved, report.n_removed, report.n_restored) == (2, 1, 0)
    assert report.exact


def test_an_image_may_go_to_a_class_that_a_later_task_brought(backbone, make_task):
    tasks = [make_task(1, ("a", "b"), n=N), make_task(2, ("c", "d"), n=N)]
    strategy, truth = learned(Artsy(backbone, ArtsyConfig(**QUICK)), tasks), Truth(tasks)

    strategy.correct(truth.change({(1, 1): "d"}))

    taught = learned(Artsy(backbone, ArtsyConfig(**QUICK)), truth.taught())
    assert strategy.classes_ == ("a", "b", "c", "d")  # they keep their order
    assert taught.classes_ == ("a", "d", "b", "c")
    order = [taught.classes_.index(label) for label in strategy.classes_]
    torch.testing.assert_close(strategy.shown.means, taught.shown.means[order])
    torch.testing.assert_close(strategy.shown.counts, taught.shown.counts[order])
    assert strategy.class_tasks_ == (1, 1, 2, 1)
    # Unlearning goes by where images are now.
    strategy.unlearn(classes=["d"])
    truth.change({(1, 1): None, **{(2, row): None for row in range(N, 2 * N)}})
    assert_same(
        strategy,
        learned(Artsy(backbone, ArtsyConfig(**QUICK)), truth.taught()),
        tasks[0].images,
    )


def test_a_consolidated_task_is_found_and_what_its_labels_have_trained_is_named(
    backbone, make_task
):
    """In each of the three places where a consolidated task is kept, and behind later moves of the features."""
    config = ArtsyConfig(adapt="always", **QUICK)
    tasks = [make_task(1, ("a", "b"), n=6), make_task(2, ("c", "d"), n=6)]
    strategy, truth = Artsy(backbone, config), Truth(tasks)
    for task in tasks:
        strategy.learn(task)
        consolidate(strategy, task)
    assert len(strategy.history.consolidations) == 2
    images = torch.cat([task.held_out_images for task in tasks])
    before, state = strategy.predict(images), strategy.state_dict()
    weights = strategy.fingerprint_of_features()

    report = strategy.correct(truth.change({(1, 2): "b", (1, 3): "c", (2, 0): None}))

    assert "trained while its images had other labels" in report.residue
    assert strategy.fingerprint_of_features() == weights
    strategy = reloaded(strategy, backbone)
    [first, second] = strategy.history.consolidations.values()
    assert first.records[1].counts.tolist() == [4, 7, 1]
    assert second.records[2].counts.tolist() == [5, 6]
    assert strategy.subnetworks[1].classes.tolist() == [0, 1, 2]
    # Each row went along as it was.
    assert len(first.records[1].rows) == len(strategy.subnetworks[1].records.rows) == 12
    was = {tuple(row) for row in state["consolidations.1.1.records.rows"].tolist()}
    assert {tuple(row) for row in first.records[1].rows.tolist()} == was
    assert not torch.equal(strategy.predict(images).probabilities, before.probabilities)

    strategy.correct(truth.change({(1, 2): "a", (1, 3): "a", (2, 0): "c"}))

    after = strategy.state_dict()
    assert after.keys() == state.keys()
    for key in (key for key in after if key.endswith((".means", ".counts", ".kept"))):
        torch.testing.assert_close(after[key], state[key], atol=1e-3, rtol=1e-3)
    found = strategy.predict(images)
    torch.testing.assert_close(found.probabilities, before.probabilities, atol=0.05, rtol=0.1)


def test_features_that_nobody_can_make_again_are_refused(backbone, make_task):
    config = ArtsyConfig(adapt="always", **QUICK)
    parts = [("a", "b"), ("c", "d"), ("e", "f")]
    tasks = [make_task(index, labels, n=6) for index, labels in enumerate(parts, start=1)]
    strategy, truth = Artsy(backbone, config), Truth(tasks)
    for task in tasks:
        strategy.learn(task)
        consolidate(strategy, task)
    strategy.unlearn(tasks=[2])

    with pytest.raises(CorrectionError, match="unlearned since"):
        strategy.correct(truth.change({(1, 0): "e"}))


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({(task, row): "b" for task in (1, 2) for row in range(0, 3 * N, 3)}, "class"),
        ({(2, row): None for row in range(3 * N)}, "task"),
    ],
)
def test_a_class_and_a_task_keep_an_image(backbone, tasks, wanted, why):
    strategy, truth = learned(Artsy(backbone, ArtsyConfig(**QUICK)), tasks), Truth(tasks)

    with pytest.raises(CorrectionError, match=f"unlearn the {why} instead"):
        strategy.correct(truth.change(wanted))

    assert_same(strategy, learned(Artsy(backbone, ArtsyConfig(**QUICK)), tasks), tasks[0].images)


def test_other_images_are_refused(backbone, tasks):
    strategy = learned(Artsy(backbone, ArtsyConfig(**QUICK)), tasks)
    images = 255 - tasks[0].images[:1]

    for change, why in (
        (Relabelled(1, images, ("a",), ("b",), (0,)), "does not look like"),
        (Relabelled(9, images, ("a",), ("b",), (0,)), "tasks that are known"),
        (Relabelled(1, images, ("a",), ("z",), (0,)), "classes that are known"),
    ):
        with pytest.raises(CorrectionError, match=why):
            strategy.correct([change])


def test_of_more_images_than_are_kept_a_sample_goes_on_standing_for_all():
    n = MOST_ROWS + 20
    features = torch.randn(n + 3, 8, generator=torch.Generator().manual_seed(1)) * 5
    targets = torch.tensor([0] * n + [1] * 3)
    records = FeatureRecords.of(features, targets, 2, seed=3)
    classes = torch.tensor([0, 1])
    moved = list(range(0, 40, 2))
    change = Change(1, (0,) * 20, (1,) * 20, tuple(range(20)))

    found, _ = corrected(records, classes, change, features[moved])

    targets[moved] = 1
    expected = FeatureRecords.of(features, targets, 2, seed=3)
    torch.testing.assert_close(found.means, expected.means)
    assert torch.equal(found.counts, expected.counts)
    assert found.kept[1] == 23
    n_kept = sum(bool((records.rows == features[row].half()).all(dim=1).any()) for row in moved)
    assert found.kept[0] == MOST_ROWS - n_kept
    assert 0 < n_kept < 20


@pytest.mark.parametrize("kind", [kind for kind in CATALOG if not kind.corrects])
def test_a_strategy_that_has_trained_its_images_says_so(backbone, tasks, kind):
    change = Relabelled(1, tasks[0].images[:1], ("a",), ("b",), (0,))
    with pytest.raises(CorrectionError, match="learn afresh"):
        kind(backbone, kind.config_type()).correct([change])

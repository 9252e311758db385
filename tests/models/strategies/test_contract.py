"""Every strategy of the catalog, against every promise of the contract."""

import re
from dataclasses import asdict, replace

import pytest
import torch

from models import artifact
from models.backbone import TINY, Backbone, load_backbone
from models.correcting import Relabelled
from models.errors import (
    CheckpointError,
    ConfigError,
    CorrectionError,
    NotLearnedError,
    TaskDataError,
    UnlearningError,
)
from models.strategies.base import Strategy
from models.strategies.catalog import CATALOG, create_strategy, find_strategy
from models.strategies.values import Seen, Task
from tests.models.strategies.quick import QUICK, make_quick
from tests.models.taught import teach


@pytest.fixture(params=sorted(QUICK))
def variant(request) -> str:
    return request.param


@pytest.fixture
def fresh(variant, backbone):
    """Return a function that makes an unlearned strategy."""

    def make(on: Backbone = backbone) -> Strategy:
        return make_quick(variant, on)

    return make


def test_the_quick_configurations_cover_the_catalog():
    assert {variant.split("-")[0] for variant in QUICK} == {entry.name for entry in CATALOG}


def test_refuses_to_predict_before_it_learned(fresh, make_task):
    with pytest.raises(NotLearnedError):
        fresh().predict(make_task(1, ("a", "b")).images)


def test_refuses_a_task_without_images(fresh, backbone):
    empty = torch.zeros(0, 3, backbone.image_size, backbone.image_size, dtype=torch.uint8)
    with pytest.raises(TaskDataError):
        fresh().learn(Task(1, empty, ()))


def test_appends_classes_and_keeps_the_index_of_old_ones(fresh, make_task):
    strategy = teach(fresh(), make_task(1, ("b", "a")), make_task(3, ("d", "c")))

    assert strategy.classes_ == ("b", "a", "d", "c")
    assert strategy.class_tasks_ == (1, 1, 3, 3)
    assert strategy.task_indexes_ == (1, 3)


def test_features_are_answered_as_their_images_are_while_the_fingerprint_stays(fresh, make_task):
    first, second = make_task(1, ("a", "b")), make_task(2, ("c", "d"))
    images = torch.cat([first.held_out_images, second.held_out_images])
    strategy = teach(fresh(), first)
    if not strategy.reads_features:
        with pytest.raises(NotImplementedError):
            strategy.features_of(images)
        return
    fingerprint, features = strategy.fingerprint_of_features(), strategy.features_of(images)
    assert (features.dtype, features.device.type) == (torch.float32, "cpu")
    teach(strategy, second)
    again = strategy.features_of(images)
    # Where tasks move the features the fingerprint tells; where they do not, what was kept is as good as new.
    assert (strategy.fingerprint_of_features() == fingerprint) == torch.equal(features, again)

    by_images = strategy.predict(images)
    by_features = strategy.predict_features(again, images.__getitem__)

    assert torch.equal(by_images.features, again)
    assert vars(by_features).keys() == vars(by_images).keys()
    for name, value in vars(by_images).items():
        found = getattr(by_features, name)
        assert found is None if value is None else torch.equal(found, value), name
    reloaded = create_strategy(strategy.name, asdict(strategy.config), strategy.backbone)
    reloaded.classes_, reloaded.class_tasks_ = strategy.classes_, strategy.class_tasks_
    reloaded.task_indexes_ = strategy.task_indexes_
    reloaded.load_state_dict(strategy.state_dict())
    assert reloaded.fingerprint_of_features() == strategy.fingerprint_of_features()


def test_one_look_tells_the_features_and_what_the_frozen_backbone_sees(fresh, make_task):
    first, second = make_task(1, ("a", "b")), make_task(2, ("c", "d"))
    strategy = teach(fresh(), first)
    if not strategy.reads_features:
        with pytest.raises(NotImplementedError):
            strategy.look(second.images)
        return
    features, frozen = strategy.look(second.images)
    assert torch.equal(features, strategy.features_of(second.images))
    assert torch.equal(frozen, strategy.backbone.embed(second.images))


def test_a_task_that_was_looked_at_before_is_learned_as_any_other(fresh, make_task):
    task = make_task(1, ("a", "b"))
    strategy, other = fresh(), fresh()
    if not strategy.reads_features:
        return
    features, _ = strategy.look(task.images)
    held_out, _ = strategy.look(task.held_out_images)
    seen = Seen(strategy.fingerprint_of_features(), features, held_out)
    strategy.learn(replace(task, seen=seen))
    other.learn(task)
    state = strategy.state_dict()
    assert state.keys() == other.state_dict().keys()
    assert all(torch.equal(state[key], tensor) for key, tensor in other.state_dict().items())
    # Of other features nothing is taken.
    assert replace(task, seen=replace(seen, fingerprint="other")).features("these") is None


def test_learns_from_a_single_image_of_a_known_class(fresh, make_task):
    """As a folder grows photo by photo."""
    task = make_task(1, ("a", "b"))
    more = make_task(2, ("a", "b"), n=14)
    single = [
        Task(2 + i, more.images[[k]], (label,))
        for i, (k, label) in enumerate(((13, "a"), (27, "b")))
    ]
    strategy = teach(fresh(), task, *single)

    prediction = strategy.predict(task.held_out_images)

    assert strategy.classes_ == ("a", "b")
    assert strategy.task_indexes_ == (1, 2, 3)
    assert torch.isfinite(prediction.probabilities).all()
    assert torch.isfinite(prediction.novelty).all()
    assert all(tensor.isfinite().all() for tensor in strategy.state_dict().values())


def test_predictions_have_the_promised_shapes_and_sum_to_one(fresh, make_task):
    tasks = [make_task(1, ("a", "b")), make_task(2, ("c", "d"))]
    strategy = teach(fresh(), *tasks)
    images = torch.cat([task.held_out_images for task in tasks])

    prediction = strategy.predict(images)

    assert prediction.probabilities.shape == (len(images), 4)
    assert torch.allclose(prediction.probabilities.sum(dim=1), torch.ones(len(images)), atol=1e-5)
    assert prediction.novelty.shape == (len(images),)
    assert ((prediction.novelty >= 0) & (prediction.novelty <= 1)).all()
    n_synapses = len(prediction.thresholds)
    assert strategy.synapse_tasks_ in ((), (1, 2))
    assert n_synapses == len(strategy.synapse_tasks_)
    assert prediction.currents.shape == prediction.functional.shape == (len(images), n_synapses)
    assert ((prediction.currents >= prediction.thresholds) | ~prediction.functional).all()
    assert prediction.passes.min() >= 1
    assert strategy.predict_logits(images).shape == (len(images), 4)


def test_what_was_left_out_is_counted_image_by_image(fresh, make_task):
    strategy = teach(fresh(), make_task(1, ("a", "b")), make_task(2, ("c", "d")))
    found, counted = strategy.left_out(), strategy.cross_validation()
    assert (found is None) == (counted is None)
    if found is not None:
        assert torch.equal(found.tasks, counted.tasks)
        assert torch.equal(found.targets, counted.targets)
        assert torch.equal(found.answers, counted.answers)
        assert found.features.shape == (len(found.tasks), strategy.feature_width)
        assert ((found.scores > 0) & (found.scores <= 1)).all()


def test_an_account_is_of_the_same_answer_and_of_what_it_would_be_otherwise(fresh, make_task):
    first, second = make_task(1, ("a", "b")), make_task(2, ("c", "d"))
    strategy = teach(fresh(), first, second)
    for image in torch.cat([first.held_out_images, second.held_out_images]):
        account = strategy.account(image)
        alone = strategy.predict(image[None])
        torch.testing.assert_close(account.prediction.probabilities, alone.probabilities)
        assert torch.equal(account.prediction.functional, alone.functional)
        n_synapses = alone.functional.shape[1]
        assert set(account.turned) <= set(range(n_synapses))
        if n_synapses:
            fired = alone.functional[0].nonzero().squeeze(1).tolist()
            assert set(fired) <= set(account.turned)
            same = strategy.score_routed(image[None], alone.functional)
            torch.testing.assert_close(strategy._answered(same).probabilities, alone.probabilities)
        for column, otherwise in account.turned.items():
            functional = alone.functional.clone()
            functional[0, column] = not functional[0, column]
            again = strategy._answered(strategy.score_routed(image[None], functional))
            torch.testing.assert_close(again.probabilities[0], otherwise)
            if alone.unrouted is not None and fired == [column]:
                torch.testing.assert_close(otherwise, alone.unrouted[0])
        if account.heads:
            assert sum(head.share for head in account.heads) == pytest.approx(1, abs=1e-5)
            mixture = sum(head.share * head.probabilities for head in account.heads)
            torch.testing.assert_close(mixture, alone.unrouted[0], atol=1e-5, rtol=1e-4)


def test_an_empty_batch_gets_an_empty_answer(fresh, make_task):
    strategy = teach(fresh(), make_task(1, ("a", "b")), make_task(2, ("c", "d")))

    prediction = strategy.predict(make_task(1, ("a",)).images[:0])

    assert prediction.probabilities.shape == (0, 4)
    assert prediction.novelty.shape == prediction.passes.shape == (0,)
    assert prediction.functional.shape == (0, len(strategy.synapse_tasks_))


def test_the_report_of_every_strategy_says_the_same(fresh, make_task):
    task = make_task(1, ("a", "b"), n=5)
    strategy = fresh()

    report = strategy.learn(task)

    assert (report.n_images, report.seconds > 0) == (10, True)
    if strategy.cross_validates:
        assert report.details["temperature"] > 0
        weights = [each["weight"] for each in report.details["classifiers"]]
        assert sum(weights) == pytest.approx(1, abs=0.01)
    else:
        assert report.details["temperature"] == strategy.calibration.temperature.value


def test_same_seed_same_predictions_to_the_bit(fresh, make_task):
    tasks = [make_task(1, ("a", "b")), make_task(2, ("c", "d"))]
    images = tasks[0].held_out_images

    first, second = teach(fresh(), *tasks), teach(fresh(), *tasks)

    assert torch.equal(first.predict_logits(images), second.predict_logits(images))


def test_leaves_the_global_generator_alone(fresh, make_task):
    task = make_task(1, ("a", "b"))
    before = torch.get_rng_state()

    fresh().learn(task)

    assert torch.equal(torch.get_rng_state(), before)


def test_leaves_the_backbone_bit_identical(fresh, make_task):
    backbone = load_backbone(TINY)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}

    teach(fresh(backbone), make_task(1, ("a", "b")))

    after = backbone.state_dict()
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())


def test_an_artifact_brings_back_the_same_predictions(fresh, make_task, backbone):
    tasks = [make_task(1, ("a", "b")), make_task(2, ("c", "d"))]
    strategy = teach(fresh(), *tasks)
    packed = artifact.pack(strategy, seed=7, code_versions={})

    loaded = artifact.load(packed.manifest, packed.files.__getitem__, backbone)

    images = tasks[1].held_out_images
    expected, prediction = strategy.predict(images), loaded.predict(images)
    assert torch.equal(prediction.probabilities, expected.probabilities)
    assert torch.equal(prediction.novelty, expected.novelty)
    assert torch.equal(prediction.currents, expected.currents)


def test_every_tensor_is_refused_if_it_is_lost_or_has_another_shape_or_type(fresh, make_task):
    strategy = teach(fresh(), make_task(1, ("a", "b"), n=4), make_task(2, ("c", "a"), n=4))
    state, other = strategy.state_dict(), fresh()
    other.classes_, other.class_tasks_ = strategy.classes_, strategy.class_tasks_
    other.task_indexes_ = strategy.task_indexes_
    other.load_state_dict(state)

    for key, tensor in state.items():
        other_type = torch.float64 if tensor.dtype == torch.float16 else torch.float16
        harmed = [state | {key: tensor[None]}, state | {key: tensor.to(other_type)}]
        if not key.endswith(".measured"):  # there only until the first unlearning
            harmed.append({name: value for name, value in state.items() if name != key})
        for damaged in harmed:
            with pytest.raises(CheckpointError, match="task|" + re.escape(key)):
                other.load_state_dict(damaged)


def test_learning_on_after_a_reload_equals_learning_on_without(fresh, make_task, backbone):
    first, second = make_task(1, ("a", "b")), make_task(2, ("c", "d"))
    straight = teach(fresh(), first, second)
    packed = artifact.pack(teach(fresh(), first), seed=7, code_versions={})
    reloaded = artifact.load(packed.manifest, packed.files.__getitem__, backbone)

    teach(reloaded, second)

    images = torch.cat([first.held_out_images, second.held_out_images])
    assert torch.equal(reloaded.predict_logits(images), straight.predict_logits(images))


def test_only_a_strategy_that_consolidates_has_tasks_that_wait(fresh, make_task, variant):
    strategy = fresh()
    tasks = [make_task(1, ("a", "b")), make_task(2, ("c", "d"))]
    for task in tasks:
        strategy.learn(task)

    assert strategy.unconsolidated_ == ((1, 2) if strategy.consolidates else ())
    if not strategy.consolidates:
        return
    before = strategy.fingerprint_of_features()
    report = strategy.consolidate(tasks, seed=7)
    assert (report.tasks, report.n_images) == ((1, 2), 48)
    assert report.adopted == (strategy.unconsolidated_ == ())
    assert report.adopted == (strategy.fingerprint_of_features() != before)
    assert report.adopted or variant != "artsy-adapting"


def test_refuses_to_consolidate_what_does_not_wait(fresh, make_task):
    strategy = teach(fresh(), make_task(1, ("a", "b")))
    images = make_task(2, ("c",))

    for tasks in ([], [images]):
        with pytest.raises(TaskDataError, match="do not wait"):
            strategy.consolidate(tasks, seed=7)


def test_takes_more_images_of_a_known_class(fresh, make_task):
    strategy = teach(fresh(), make_task(1, ("a", "b")), make_task(2, ("c", "d")))

    strategy.learn(make_task(3, ("a", "e")))

    assert strategy.classes_ == ("a", "b", "c", "d", "e")
    assert strategy.class_tasks_ == (1, 1, 2, 2, 3)
    assert strategy.predict(make_task(3, ("e",)).images).probabilities.shape[1] == 5


def test_learns_one_class_at_a_time(fresh, make_task):
    strategy = teach(fresh(), *(make_task(t, (label,)) for t, label in enumerate("abc", start=1)))

    assert strategy.predict(make_task(1, ("a",)).images).probabilities.isfinite().all()


def test_learns_a_task_without_held_out_images(fresh, make_task):
    task = make_task(1, ("a", "b"))
    strategy = teach(fresh(), Task(1, task.images, task.labels, seed=7))

    assert strategy.predict(task.images).probabilities.isfinite().all()


def test_reports_progress_that_only_grows(fresh, make_task):
    seen = []
    fresh().learn(make_task(1, ("a", "b")), seen.append)

    phases = list(dict.fromkeys(progress.phase for progress in seen))
    assert phases in (["training", "consolidating"], ["consolidating"], ["training"])
    for phase in phases:
        fractions = [progress.fraction for progress in seen if progress.phase == phase]
        assert fractions == sorted(fractions)
        assert fractions[-1] == pytest.approx(1.0)


def test_unlearns_a_class_and_goes_on_or_says_that_it_cannot(fresh, make_task, backbone):
    tasks = [make_task(1, ("a", "b"), n=6), make_task(2, ("c", "a"), n=6)]
    strategy = teach(fresh(), *tasks)
    if strategy.unlearning == "none":
        with pytest.raises(UnlearningError, match="learn afresh"):
            strategy.unlearn(classes=["a"])
        assert strategy.classes_ == ("a", "b", "c")
        return

    report = strategy.unlearn(classes=["a"], images=tasks)

    assert (report.n_tasks, report.n_classes) == (0, 1)
    assert report.exact == (report.residue == "")
    assert strategy.classes_ == ("b", "c")
    assert strategy.class_tasks_ == (1, 2)
    images = torch.cat([task.held_out_images for task in tasks])
    expected = strategy.predict(images)
    assert expected.probabilities.shape == (len(images), 2)
    assert torch.allclose(expected.probabilities.sum(dim=1), torch.ones(len(images)), atol=1e-5)
    assert (expected.probabilities.amax(dim=0) > 0.05).all()  # what stays can still be answered
    packed = artifact.pack(strategy, seed=7, code_versions={})
    loaded = artifact.load(packed.manifest, packed.files.__getitem__, backbone)
    assert torch.equal(loaded.predict(images).probabilities, expected.probabilities)
    assert torch.equal(loaded.predict(images).novelty, expected.novelty)
    again = make_task(3, ("a", "e"), n=6)
    assert torch.equal(
        teach(loaded, again).predict_logits(images), teach(strategy, again).predict_logits(images)
    )
    assert strategy.classes_ == ("b", "c", "a", "e")


def test_unlearns_the_task_that_introduced_a_class_and_keeps_what_others_gave(fresh, make_task):
    tasks = [make_task(1, ("a", "b"), n=6), make_task(2, ("c", "a"), n=6)]
    strategy = teach(fresh(), *tasks)
    if strategy.unlearning == "none":
        with pytest.raises(UnlearningError, match="learn afresh"):
            strategy.unlearn(tasks=[1])
        return

    report = strategy.unlearn(tasks=[1], images=tasks)

    assert (report.n_tasks, report.n_classes) == (1, 1)
    assert strategy.classes_ == ("c", "a")
    assert strategy.class_tasks_ == (2, 2)
    assert strategy.task_indexes_ == (2,)
    assert strategy.predict(tasks[0].images).probabilities.shape[1] == 2


def test_corrects_labels_and_goes_on_or_says_that_it_cannot(fresh, make_task, backbone):
    tasks = [make_task(1, ("a", "b"), n=6), make_task(2, ("c", "a"), n=6)]
    strategy = teach(fresh(), *tasks)
    changes = [
        Relabelled(1, tasks[0].images[[1, 7]], ("a", "b"), ("b", None), (0, 0)),
        Relabelled(2, tasks[1].images[:1], ("c",), ("b",), (0,)),
    ]
    if not strategy.corrects:
        with pytest.raises(CorrectionError, match="learn afresh"):
            strategy.correct(changes)
        assert strategy.classes_ == ("a", "b", "c")
        return
    images = torch.cat([task.held_out_images for task in tasks])
    before, features = strategy.predict(images), strategy.fingerprint_of_features()

    report = strategy.correct(changes)

    assert (report.n_moved, report.n_removed, report.n_restored) == (2, 1, 0)
    assert report.exact == (report.residue == "")
    assert strategy.classes_ == ("a", "b", "c")
    assert strategy.fingerprint_of_features() == features  # nothing was trained
    after = strategy.predict(images)
    assert not torch.equal(after.probabilities, before.probabilities)
    packed = artifact.pack(strategy, seed=7, code_versions={})
    loaded = artifact.load(packed.manifest, packed.files.__getitem__, backbone)
    assert torch.equal(loaded.predict(images).probabilities, after.probabilities)
    again = make_task(3, ("a", "e"), n=6)
    assert torch.equal(
        teach(loaded, again).predict_logits(images), teach(strategy, again).predict_logits(images)
    )


def test_needs_no_image_of_an_earlier_task(fresh, make_task):
    """Whatever it wants to know about old images it has to have written down: they are noise when it learns on."""
    strategy, kept = fresh(), fresh()
    for index, labels in enumerate([("a", "b"), ("c", "a"), ("d", "e")], start=1):
        task = make_task(index, labels, n=6)
        teach(kept, make_task(index, labels, n=6))
        teach(strategy, task)
        for old in (task.images, task.held_out_images):
            old.copy_(torch.randint_like(old, 256))

    expected, state = kept.state_dict(), strategy.state_dict()

    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    images = [value for value in state.values() if value.dtype == torch.uint8 and value.ndim == 4]
    assert bool(images) == strategy.keeps_images


def test_the_catalog_refuses_unknown_names_and_hyperparameters(backbone):
    with pytest.raises(ConfigError, match="no strategy"):
        find_strategy("telepathy")
    with pytest.raises(ConfigError, match="does not fit"):
        create_strategy("simplecil", {"epochs": 3}, backbone)

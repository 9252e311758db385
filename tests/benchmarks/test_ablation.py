import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from benchmarks.ablation.__main__ import configure, describe, main, parse_arguments
from benchmarks.ablation.consolidation import evidence, firing, merged
from benchmarks.ablation.features import Cache, Chain, Labels, Trainer, collect
from benchmarks.ablation.gates import Answers, passes, prototypes, route
from benchmarks.ablation.spaces import (
    carry,
    functional,
    memories,
    pooled,
    ridge_scores,
    still,
    summed,
)
from models.backbone import load_backbone
from models.head import GaussianHead, cosine_scores
from models.statistics import ClassStatistics

CLASSES, TASKS, TRAIN, TEST = 6, 3, 7, 4
OPEN = {"h0": 1.0, "consolidated": 2.0, "none": 1.0}


def write_images(folder):
    """Six colours that overlap enough for mistakes."""
    rng = np.random.default_rng(3)
    for k in range(CLASSES):
        colour = rng.integers(90, 160, (1, 1, 3))
        for split, n in (("train", TRAIN), ("test", TEST)):
            of_class = folder / split / f"class{k}"
            of_class.mkdir(parents=True)
            for i in range(n):
                shade = colour + rng.integers(-25, 26, (1, 1, 3))
                pixels = (shade + rng.integers(-60, 61, (32, 32, 3))).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(of_class / f"{i}.png")


def arguments_for(root):
    return [
        *("--data", str(root / "data"), "--backbone", "tiny", "--device", "cpu"),
        *("--tasks", str(TASKS), "--train-per-class", str(TRAIN), "--test-per-class", str(TEST)),
        *("--epochs", "1", "--seeds", "5", "--threads", "1", "--projection-width", "64", "--own"),
        *("--cache", str(root / "cache"), "--out", str(root / "rows.json")),
    ]


def run(root):
    threads = torch.get_num_threads()
    main(arguments_for(root))
    torch.set_num_threads(threads)
    return json.loads((root / "rows.json").read_text())["rows"]


def written(root):
    return {file.name: file.stat().st_mtime_ns for file in (root / "cache" / "seed-5").iterdir()}


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    root = tmp_path_factory.mktemp("ablation")
    write_images(root / "data")
    return root, run(root)


@pytest.fixture(scope="module")
def rows(first_run):
    return first_run[1]


@pytest.fixture(scope="module")
def features(first_run):
    """What the run left behind, read where no image can be asked for."""
    arguments, backbone = parse_arguments(arguments_for(first_run[0])), load_backbone("tiny")

    def refuse():
        raise AssertionError("the images were asked for")

    return collect(
        Trainer(backbone, configure(arguments), refuse),
        Cache(first_run[0] / "cache" / "seed-5", describe(backbone, arguments)),
        with_product=True,
        on_done=lambda name: None,
    )


def select(rows, **wanted):
    return [row for row in rows if all(row.get(key) == wanted[key] for key in wanted)]


def test_every_cell_has_one_row(rows):
    gates = select(rows, group="gates")
    closed_form, trained = 4 * 5, 2 * 6
    assert len(gates) == 2 * (3 * (closed_form + trained) + 5)
    cells = {(row["gate"], row["input"], row["combine"], row["routed"]) for row in gates}
    assert len(cells) == len(gates)
    consolidation = select(rows, group="consolidation")
    # Two that stand still and three chains under five drifts, read by two heads; two more heads, and artsy itself.
    assert len(consolidation) == 2 * (2 + 3 * 5) + 2 + 1
    methods = {row["method"] for row in select(rows, group="frontier")}
    assert methods == {"fresh merge", "fresh evidence", "warm merge", "warm evidence", "mirror"}
    assert all(0 <= row["last"] <= 1 and row["passes"] >= 1 for row in rows)


def test_a_second_run_neither_trains_nor_reads_images(first_run, rows, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(first_run[0], root)
    shutil.rmtree(root / "data")
    before = written(root)

    assert run(root) == rows
    assert written(root) == before


def test_an_interrupted_run_goes_on_with_what_is_missing(first_run, rows, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(first_run[0], root)
    before = written(root)
    (root / "cache" / "seed-5" / "mean-2.safetensors").unlink()

    assert run(root) == rows
    after = written(root)
    assert {name for name in after if after[name] != before[name]} == {"mean-2.safetensors"}


def test_features_of_another_protocol_are_not_mixed_in(tmp_path):
    Cache(tmp_path, {"tasks": 3})
    Cache(tmp_path, {"tasks": 3})

    with pytest.raises(ValueError, match="another protocol"):
        Cache(tmp_path, {"tasks": 4})


def test_settings_of_the_adapters_come_from_the_command_line(tmp_path):
    arguments = [*arguments_for(tmp_path), "--config", "learning_rate=0.1:augmentation=crop_flip"]

    config = configure(parse_arguments(arguments))

    assert (config.epochs, config.learning_rate, config.augmentation) == (1, 0.1, "crop_flip")


def test_old_images_are_gone_when_a_branch_is_made(features):
    for branch in range(TASKS + 1):
        gone = features.labels.train_tasks < branch - 1
        assert features.train[branch, gone].isnan().all()
        assert not features.train[branch, ~gone].isnan().any()


def test_the_first_state_of_both_chains_is_the_first_subnetwork(features):
    labels = features.labels
    alone = features.train[1, labels.train_tasks == 0]

    assert torch.equal(features.chains["mean"].seen[0], alone)
    assert torch.equal(features.chains["last"].seen[0], alone)
    # The second is not: one is averaged, the other is not.
    mean, last = (features.chains[name].seen[1] for name in ("mean", "last"))
    assert not torch.equal(mean, last)


def test_the_product_is_measured_as_it_answers(features, rows):
    (answered,) = select(rows, consolidation="own", drift="own")
    assert answered["last"] == features.product["accuracy"][-1]
    assert answered["passes"] == features.product["passes"][-1]
    # Its functional adapter starts as the chains do; from there on it is its own default's.
    own, mean = features.chains["own"], features.chains["mean"]
    torch.testing.assert_close(own.seen[0], mean.seen[0])
    assert not torch.equal(own.before[1], own.seen[1][-len(own.before[1]) :])


def test_the_oracle_is_always_right_and_nobody_beats_it(rows):
    oracle = select(rows, gate="oracle")
    assert {row["routing_accuracy"] for row in oracle if row["routed"] != "0"} == {1.0}
    others = [row["routing_accuracy"] for row in rows if row.get("gate") != "oracle"]
    found = [value for value in others if value is not None]
    assert max(found) <= 1
    assert min(found) < 1


def test_routing_to_all_opens_all_whatever_the_gate(rows):
    for combine in ("sum", "concat"):
        all_open = select(rows, group="gates", routed="all", combine=combine)
        assert {row["routing_accuracy"] for row in all_open} == {1.0}
        assert len({row["last"] for row in all_open}) == 1
        for row in all_open:
            assert row["passes"] == OPEN.get(row["input"], 1.0) + TASKS


def test_passes_count_every_forward_once():
    opened = torch.tensor([[True, False, False], [True, True, False]])

    assert passes("h0", opened) == 2.5
    assert passes("consolidated", opened) == 3.5
    assert passes("sum", opened) == 4  # all have run for the gate


def test_nobody_routed_is_plain_discriminant_analysis(features, rows):
    labels = features.labels
    statistics = ClassStatistics.of(features.train[0], labels.train_targets, CLASSES)
    logits = GaussianHead(statistics, shrinkage=0.1).logits(features.test[0])
    plain = float((logits.argmax(dim=1) == labels.test_targets).float().mean())

    (gate,) = select(rows, gate="lda", input="h0", combine="concat", routed="0")
    (frozen,) = select(rows, consolidation="none", head="shared covariance")
    assert gate["last"] == frozen["last"] == pytest.approx(plain)
    assert gate["average"] == pytest.approx(frozen["average"])


def test_the_sum_is_compared_with_the_prototypes_of_the_same_route(features):
    answers, labels = Answers(features), features.labels
    generator = torch.Generator().manual_seed(1)
    opened = torch.rand(CLASSES * TEST, TASKS, generator=generator) < 0.5

    right = answers.right(TASKS - 1, opened, "sum")

    known = prototypes(features)
    for i, own in enumerate(opened):
        route = torch.cat([torch.tensor([True]), own])
        scores = cosine_scores(features.test[route, i].sum(dim=0)[None], known[route].sum(dim=0))
        assert bool(right[i]) == (int(scores.argmax()) == int(labels.test_targets[i]))


def test_prototypes_of_old_classes_are_made_of_the_new_ones(features):
    labels, known = features.labels, prototypes(features)
    own = features.train[1:, labels.train_targets == 0].mean(dim=1)
    torch.testing.assert_close(known[1, 0], own[0])
    new = known[TASKS, labels.classes(TASKS - 1)]
    low, high = new.amin(dim=0), new.amax(dim=0)
    assert (known[TASKS, 0] >= low - 1e-5).all()
    assert (known[TASKS, 0] <= high + 1e-5).all()


def test_the_sum_moves_by_each_new_branch(features):
    space, labels = summed(features), features.labels
    rows = labels.train_tasks == 1
    torch.testing.assert_close(space.before[1], features.train[:2, rows].sum(dim=0))
    torch.testing.assert_close(space.after[1], features.train[:3, rows].sum(dim=0))
    torch.testing.assert_close(space.test[-1], features.test.sum(dim=0))


def moving_space(generator):
    """Two tasks of two classes whose feature makes one affine move between them."""
    tasks = torch.tensor([0, 1]).repeat_interleave(400)
    targets = torch.arange(4).repeat_interleave(200)
    labels = Labels(targets, tasks, targets, tasks)
    early = torch.randn(800, 3, generator=generator) + 2.0 * F.one_hot(targets, 4)[:, :3]
    late = early @ torch.tensor([[1.2, 0.3, 0.0], [0.0, 0.8, 0.0], [-0.4, 0.0, 1.0]]) + 3.0
    first = tasks == 0
    chain = Chain(
        before=[early[:0], early[~first]], seen=[early[first], late], test=[early[first], late]
    )
    return functional(labels, chain)


def test_statistics_follow_an_affine_move():
    space = moving_space(torch.Generator().manual_seed(0))
    known = {
        drift: pooled(list(memories(space, drift))[-1])
        for drift in ("none", "mean_shift", "linear", "linear_means", "true")
    }
    true = known["true"]

    def gap(drift):
        return float((known[drift].means - true.means).abs().max())

    assert gap("linear") == gap("linear_means") < 0.01
    assert gap("linear") < gap("mean_shift") < gap("none")
    torch.testing.assert_close(known["linear"].scatter, true.scatter, rtol=0.01, atol=1)
    assert torch.equal(known["linear_means"].scatter, known["none"].scatter)


def test_without_old_images_nothing_is_measured_again():
    with pytest.raises(ValueError, match="true"):
        carry([ClassStatistics.empty(2)], "true", torch.zeros(3, 2), torch.zeros(3, 2))


def test_ridge_from_statistics_is_ridge_from_images(features):
    space, labels = still(features, 0), features.labels
    statistics = pooled(list(memories(space, "linear"))[-1])
    scores = ridge_scores(statistics, features.test[0])

    design = F.pad(features.train[0].double(), (0, 1), value=1.0)
    onehot = F.one_hot(labels.train_targets).double()
    gaps = []
    for ridge in torch.logspace(-4, 8, 49, dtype=torch.float64):
        gram = design.T @ design + ridge * torch.eye(len(design.T), dtype=torch.float64)
        direct = F.pad(features.test[0].double(), (0, 1), value=1.0) @ torch.linalg.solve(
            gram, design.T @ onehot
        )
        gaps.append(float((F.normalize(direct) - F.normalize(scores.double())).abs().max()))
    assert min(gaps) < 1e-4


def test_the_strongest_open():
    currents = torch.tensor([[0.1, 0.7, 0.6]])

    assert route(currents, "0").tolist() == [[False, False, False]]
    assert route(currents, "1").tolist() == [[False, True, False]]
    assert route(currents, "2").tolist() == [[False, True, True]]
    assert route(currents, "3").tolist() == [[True, True, True]]
    assert route(currents, "threshold").tolist() == [[False, True, True]]


def test_the_threshold_sweeps_from_nobody_to_the_allowed_number():
    currents = torch.rand(40, 5, generator=torch.Generator().manual_seed(0))

    opened = [fired for _, fired in firing(currents, 2)]

    assert [round(float(fired.sum(dim=1).float().mean()), 3) for fired in opened] == [
        *(0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0)
    ]
    assert max(int(fired.sum(dim=1).max()) for fired in opened) == 2


def test_the_frontier_starts_at_the_consolidated_answer(rows):
    (single,) = select(rows, consolidation="mean", drift="linear", head="own covariances")
    frontier = select(rows, group="frontier")
    alone = [row for row in frontier if row["passes"] == 1]
    assert len(alone) == 5
    assert {row["last"] for row in alone} == {single["last"]}
    assert max(row["passes"] for row in frontier) == 3
    assert max(row["passes"] for row in select(frontier, method="mirror")) == 2


def test_a_merged_opinion_keeps_the_tasks_mass_and_evidence_does_not(features):
    labels, generator = features.labels, torch.Generator().manual_seed(2)
    base = F.log_softmax(torch.randn(3, CLASSES, generator=generator), dim=1)
    logits = torch.randn(3, TASKS, CLASSES // TASKS, generator=generator)
    opinion = F.log_softmax(logits, dim=2).flatten(1)
    opened = torch.tensor([[True, False, False], [False, False, False], [True, True, False]])

    kept = merged(labels, base, opinion, opened)
    torch.testing.assert_close(kept.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(kept[:, :2].sum(dim=1), base[:, :2].exp().sum(dim=1))
    torch.testing.assert_close(kept[1], base[1].exp())

    added = evidence(labels, opinion, opened)
    assert (added[1] == 0).all()
    torch.testing.assert_close(added[0, :2], opinion[0, :2] + np.log(2))
    assert (added[0, 2:] == 0).all()

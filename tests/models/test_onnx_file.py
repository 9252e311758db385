"""A learner's ONNX file answers as the learner does, with ONNX Runtime alone."""

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from models import onnx_file, onnx_graphs
from models.backbone import TINY, load_backbone
from models.closed_form import Candidate
from models.errors import ExportError
from models.evidence import Opinion
from models.evidence_synapse import EvidenceSynapses
from models.onnx_file import write_file
from models.onnx_pass import OnnxPass
from models.strategies.catalog import find_strategy
from models.strategies.values import Task
from tests.models.strategies.quick import QUICK, make_quick
from tests.models.taught import teach

ROUNDING = 1e-3
FORMS = [name for name in sorted(QUICK) if "-" not in name or name == "artsy-adapting"]
WRITABLE = [form for form in FORMS if find_strategy(form.split("-")[0]).is_one_graph]


@pytest.fixture
def tasks(make_task):
    return make_task(1, ("a", "b")), make_task(2, ("c",)), make_task(3, ("d", "e", "f"))


def ask(file, images):
    """Return scores, novelty, known and would_fire of images `(B, 3, S, S)`."""
    session = onnxruntime.InferenceSession(file)
    return session.run(None, {"images": images.permute(0, 2, 3, 1).numpy()})


def facts_of(file):
    said = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
    return {name: json.loads(fact) for name, fact in said.items()}


@pytest.mark.parametrize("variant", WRITABLE)
def test_every_strategy_with_one_graph_answers_the_same(variant, backbone, tasks, tmp_path):
    strategy, file = teach(make_quick(variant, backbone), *tasks), tmp_path / "file.onnx"
    write_file(strategy, file, hidden=(), facts={})
    shape = (70, *tasks[0].images.shape[1:])
    strange = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator())
    learned = torch.cat([task.images for task in tasks])

    for asked, close in ((learned, ROUNDING), (learned[:1], ROUNDING), (strange, 0.02)):
        expected = strategy.predict_unrouted(asked)
        scores, novelty, known, would_fire = ask(file, asked)

        np.testing.assert_allclose(scores, expected.probabilities, atol=close)
        # Images of noise lie so close to each other that rounding moves them among themselves.
        np.testing.assert_allclose(novelty, expected.novelty, atol=0.03)
        at_the_edge = np.abs(novelty - strategy.novelty_threshold) < 1e-6
        assert (at_the_edge | (known == (novelty <= strategy.novelty_threshold))).all()
        fires = strategy.predict(asked).functional.any(dim=1).numpy()
        assert (would_fire == fires).mean() > 0.97, "a current may lie at its threshold"
        # Where none fires that is what the service answers.
        answered = strategy.predict(asked).probabilities.numpy()[~fires]
        np.testing.assert_allclose(scores[~fires], answered, atol=close)
    assert bool(facts_of(file)["left_out"]) == bool(strategy.synapse_tasks_)


@pytest.mark.parametrize("variant", sorted(set(FORMS) - set(WRITABLE)))
def test_what_is_no_one_graph_is_refused(variant, backbone, tasks, tmp_path):
    strategy = teach(make_quick(variant, backbone), tasks[0])
    with pytest.raises(ExportError, match=strategy.name):
        write_file(strategy, tmp_path / "file.onnx", hidden=(), facts={})
    assert list(tmp_path.iterdir()) == []


def test_it_tells_which_images_the_service_would_ask_a_sub_network_about(backbone, tasks, tmp_path):
    strategy = teach(make_quick("artsy-adapting", backbone), *tasks)
    images = torch.cat([task.images for task in tasks])
    currents = strategy.predict(images).currents
    # Between two currents, so that rounding decides nothing.
    ordered = currents[:, 0].sort().values
    half = len(ordered) // 2
    threshold = float(ordered[half - 1] + ordered[half]) / 2
    group = strategy.history.subnetworks[0]
    synapse = replace(group[1].synapse, threshold=threshold)
    group[1] = replace(group[1], synapse=synapse)
    strategy._synapses = EvidenceSynapses(strategy.synapses)
    fires = strategy.predict(images).functional.any(dim=1).numpy()
    assert 0 < fires.sum() < len(fires)

    write_file(strategy, tmp_path / "file.onnx", hidden=(), facts={})

    scores, _, _, would_fire = ask(tmp_path / "file.onnx", images)
    assert (would_fire == fires).all()
    routed = strategy.predict(images)
    np.testing.assert_allclose(scores[~fires], routed.probabilities[~fires], atol=ROUNDING)
    np.testing.assert_allclose(scores, routed.unrouted, atol=ROUNDING)


def test_any_number_of_images_is_answered_among_many_classes(backbone, tmp_path):
    """Own covariances, of which only the most likely classes' are asked then, in parts where there are many images."""
    size, generator = backbone.image_size, torch.Generator().manual_seed(0)
    shape = (300, 3, size, size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    strategy = make_quick("artsy", backbone)
    strategy.learn(Task(1, images, tuple(str(i // 2) for i in range(300))))
    strategy.opinions = [Opinion(Candidate("own", 0.3, 1.0), 1.0, 1.0, None)]
    strategy._head = None

    write_file(strategy, tmp_path / "file.onnx", hidden=(), facts={})

    for n in (1, 7, 200):
        scores = ask(tmp_path / "file.onnx", images[:n])[0]
        expected = strategy.predict_unrouted(images[:n]).probabilities
        assert (scores.argmax(axis=1) == expected.argmax(dim=1).numpy()).mean() > 0.99
        np.testing.assert_allclose(scores, expected, atol=0.02)


def test_what_the_exporter_refuses_is_told_in_one_sentence(backbone, tasks, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graphs, "OPSET", 10_000)
    with pytest.raises(ExportError, match="cannot be written as one graph"):
        write_file(
            teach(make_quick("simplecil", backbone), tasks[0]), tmp_path / "x", hidden=(), facts={}
        )


def test_hidden_classes_leave_their_scores_to_the_others(backbone, tasks, tmp_path):
    strategy = teach(make_quick("artsy", backbone), *tasks)
    write_file(strategy, tmp_path / "file.onnx", hidden={"a", "d"}, facts={"labels": list("bcef")})
    images = torch.cat([task.images for task in tasks])

    scores = ask(tmp_path / "file.onnx", images)[0]

    left = strategy.predict_unrouted(images).probabilities[:, [1, 2, 4, 5]].double()
    expected = (left / left.sum(dim=1, keepdim=True)).numpy()
    certain = left.sum(dim=1).numpy() > 1e-3
    assert certain.any()
    np.testing.assert_allclose(scores[certain], expected[certain], atol=1e-2)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=ROUNDING)
    assert facts_of(tmp_path / "file.onnx")["labels"] == ["b", "c", "e", "f"]


def test_a_backbone_that_runs_as_a_graph_is_written_by_its_own_steps(tasks, tmp_path):
    backbone = load_backbone(TINY)
    strategy = teach(make_quick("artsy", backbone), *tasks)
    expected = strategy.predict_unrouted(tasks[0].images).probabilities
    backbone.graph = OnnxPass(backbone)

    write_file(strategy, tmp_path / "file.onnx", hidden=(), facts={})

    scores = ask(tmp_path / "file.onnx", tasks[0].images)[0]
    np.testing.assert_allclose(scores, expected, atol=ROUNDING)


def test_a_file_that_answers_otherwise_is_not_handed_out(backbone, tasks, tmp_path, monkeypatch):
    strategy = teach(make_quick("artsy", backbone), *tasks)

    class Wrong(torch.nn.Module):
        def forward(self, images):
            scores, *others = self.right(images)
            return scores * 0.9, *others

    def write(module, *given, **more):
        wrong = Wrong()
        wrong.right = module
        onnx_graphs.write_graph(wrong, *given, **more)

    monkeypatch.setattr(onnx_file, "write_graph", write)
    with pytest.raises(ExportError, match="answers otherwise"):
        write_file(strategy, tmp_path / "file.onnx", hidden=(), facts={})


def test_without_its_packages_nothing_is_written(backbone, tasks, tmp_path, monkeypatch):
    strategy = teach(make_quick("simplecil", backbone), tasks[0])
    monkeypatch.setattr(onnx_graphs, "PACKAGES", ("no_such_package",))
    with pytest.raises(ExportError, match="not installed"):
        write_file(strategy, tmp_path / "file.onnx", hidden=(), facts={})

import pytest
import torch

from models.calibration import Calibration, FamiliarityScale, RunningTemperature, fit_temperature
from models.errors import CheckpointError


def test_finds_the_temperature_logits_were_scaled_by():
    generator = torch.Generator().manual_seed(0)
    honest = 2 * torch.randn(4000, 5, generator=generator)
    targets = torch.multinomial(torch.softmax(honest, dim=1), 1, generator=generator).squeeze(1)

    assert fit_temperature(honest * 7, targets, prior=1.0) == pytest.approx(7, rel=0.1)


def test_few_images_without_a_mistake_do_not_claim_certainty():
    logits = 10 * torch.eye(4)

    assert fit_temperature(logits, torch.arange(4), prior=1.0) > 0.05


def test_without_evidence_the_prior_stands():
    assert fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), prior=2.0) == 2.0
    assert Calibration(prior=2.0).probabilities(torch.tensor([[2.0, 0.0]]))[0, 0] == pytest.approx(
        torch.sigmoid(torch.tensor(1.0)).item()
    )


def test_tasks_weigh_by_their_images():
    running = RunningTemperature()
    running.add(1.0, 30)
    running.add(8.0, 10)

    assert running.value == pytest.approx(8 ** (1 / 4))


def test_novelty_is_the_share_of_known_images_that_lie_nearer():
    scale = FamiliarityScale()
    logs = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    scale.add((3 + 0.5 * logs).exp())

    novelty = scale.novelty(torch.tensor([3.0, 3.5, 0.0, 9.0]).exp())

    assert novelty.tolist() == pytest.approx([0.5, 0.841, 0.0, 1.0], abs=0.03)
    assert (FamiliarityScale().novelty(torch.ones(2)) == 0).all()


def test_state_round_trip_and_its_refusals():
    calibration = Calibration(prior=1.0)
    calibration.add(torch.randn(8, 3), torch.arange(8) % 3, torch.rand(8))
    state = calibration.state_dict("c.")
    loaded = Calibration(prior=1.0)

    loaded.load_state_dict(state, "c.")

    assert torch.equal(loaded.temperature.measured, calibration.temperature.measured)
    assert torch.equal(loaded.tasks, calibration.tasks)
    assert torch.equal(loaded.familiarity.moments, calibration.familiarity.moments)
    for missing, named in (("tasks", "tasks"), ("temperature",) * 2, ("familiarity",) * 2):
        with pytest.raises(CheckpointError, match=named):
            loaded.load_state_dict({k: v for k, v in state.items() if k != f"c.{missing}"}, "c.")


def test_without_a_task_it_is_what_the_others_measured():
    logits, targets, distances = torch.randn(8, 3), torch.arange(8) % 3, torch.rand(8)
    both, alone = Calibration(prior=1.0), Calibration(prior=1.0)
    both.add(9 * logits, targets, 5 * distances, task=4)
    both.add(logits, targets, distances, task=7)
    alone.add(logits, targets, distances, task=7)

    both.drop([4])

    assert torch.equal(both.probabilities(logits), alone.probabilities(logits))
    assert torch.equal(both.familiarity.novelty(distances), alone.familiarity.novelty(distances))

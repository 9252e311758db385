"""What releases stored that had the paper's method as a preset of `artsy` loads, answers, learns on and unlearns."""

import json
import zipfile
from pathlib import Path

import pytest
import torch

from models import admission, artifact
from models.strategies.artsy_gaussian.strategy import ArtsyGaussian
from models.strategies.artsy_paper.strategy import ArtsyPaper
from models.strategies.values import Task

OLD = Path(__file__).parent
KINDS = {"consolidated": ArtsyGaussian, "paper": ArtsyPaper, "paper_h0": ArtsyPaper}
CLOSE = 1e-4
"""By how much answers may differ: the processor may be of another kind than the one they were made on."""
ASKED = ("a", "b", "m", "e")


def pictures(label: str, n: int, *, first: int = 0) -> torch.Tensor:
    """Return pictures of a class, uint8 `(n, 3, 32, 32)`: a shade under noise, made of whole numbers alone."""
    places = torch.arange(3 * 32 * 32).reshape(1, 3, 32, 32)
    shifts = torch.arange(first, first + n).reshape(n, 1, 1, 1)
    kind = ord(label) - ord("a") + 1
    mixed = places * 7919 + shifts * 104729 + kind * 1299709
    noise = (mixed * mixed // 1009) % 131
    return (noise + kind * 5 % 13 * 4 + places // 1024 * (kind % 3) * 8).to(torch.uint8)


def task(index: int, *labels: str) -> Task:
    images = torch.cat([pictures(label, 12) for label in labels])
    names = tuple(label for label in labels for _ in range(12))
    held_out = torch.arange(len(names)) % 4 == 3
    return Task(
        index=index,
        images=images[~held_out],
        labels=tuple(name for name, out in zip(names, held_out, strict=True) if not out),
        held_out_images=images[held_out],
        held_out_labels=tuple(name for name, out in zip(names, held_out, strict=True) if out),
        seed=11,
    )


def answers(strategy) -> dict[str, list]:
    prediction = strategy.predict(torch.cat([pictures(label, 5, first=50) for label in ASKED]))
    return {
        "probabilities": prediction.probabilities.tolist(),
        "currents": prediction.currents.tolist(),
        "thresholds": prediction.thresholds.tolist(),
        "functional": prediction.functional.tolist(),
        "novelty": prediction.novelty.tolist(),
    }


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def expected(kind):
    return json.loads((OLD / "expected.json").read_text("utf-8"))[kind]


@pytest.fixture
def stored(kind):
    """Return the manifest and the tensor files of an old version."""
    with zipfile.ZipFile(OLD / f"{kind}.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return files.pop("manifest.json"), files


@pytest.fixture
def loaded(stored, backbone):
    manifest, files = stored
    return artifact.load(manifest, files.__getitem__, backbone)


def assert_as_then(strategy, then):
    now = answers(strategy)
    # An image at the very threshold may take another route on another processor.
    currents, thresholds = torch.tensor(then["currents"]), torch.tensor(then["thresholds"])
    sure = ((currents - thresholds).abs() > CLOSE).all(dim=1)
    assert sure.sum() > len(sure) / 2
    for name, values in then.items():
        found, known = torch.tensor(now[name]).float(), torch.tensor(values).float()
        if name != "thresholds":
            found, known = found[sure], known[sure]
        assert torch.allclose(found, known, atol=CLOSE), name


def test_it_is_one_of_before(stored):
    described = json.loads(stored[0])

    assert described["strategy"] == "artsy"
    assert described["config"]["preset"] in ("consolidated", "paper")
    assert described["config"]["batch_size"] is None


def test_it_is_the_strategy_that_its_preset_was(kind, loaded):
    assert type(loaded) is KINDS[kind]
    assert loaded.config.schedule.batch_size == (16 if kind == "consolidated" else 48)


def test_it_answers_learns_on_and_unlearns_as_then(loaded, expected):
    assert_as_then(loaded, expected["loaded"])

    loaded.learn(task(3, "e", "a"))

    assert_as_then(loaded, expected["learned_on"])

    report = loaded.unlearn(classes=["b"])

    assert report.residue == expected["residue"]
    assert_as_then(loaded, expected["unlearned"])


def test_written_again_it_has_the_same_files_and_names_today_s_strategy(loaded, stored, backbone):
    manifest, files = stored
    then = json.loads(manifest)

    again = artifact.pack(loaded, seed=then["seed"], code_versions={})

    described = json.loads(again.manifest)
    assert again.files == files
    assert (described["strategy"], "preset" in described["config"]) == (loaded.name, False)
    others = then.keys() - {"strategy", "config"}
    assert {key: described[key] for key in others} == {key: then[key] for key in others}
    today = artifact.load(again.manifest, again.files.__getitem__, backbone)
    assert answers(today) == answers(loaded)
    for strategy in (today, loaded):
        strategy.learn(task(3, "e", "a"))
    one, other = (artifact.pack(s, seed=7, code_versions={}) for s in (today, loaded))
    assert one == other


def test_it_is_admitted_from_outside(kind, stored, backbone):
    manifest, files = stored
    admission.check_manifest(json.loads(manifest))

    strategy = admission.admit(manifest, files.__getitem__, backbone)

    assert type(strategy) is KINDS[kind]

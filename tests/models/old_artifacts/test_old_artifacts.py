"""What releases stored that had the paper's method as a preset of `artsy` loads, answers, learns on and unlearns."""

import json
import zipfile

import pytest

from models import admission, artifact
from models.strategies.artsy_gaussian.strategy import ArtsyGaussian
from models.strategies.artsy_paper.strategy import ArtsyPaper
from tests.models.old_artifacts.then import OLD, answers, assert_as_then, task

KINDS = {"consolidated": ArtsyGaussian, "paper": ArtsyPaper, "paper_h0": ArtsyPaper}


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

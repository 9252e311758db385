"""A strategy that is new has to be told of in every place that lists them by hand: those named in CONTRIBUTING.md.

Each check says what is wrong with one file for a catalog. It finds nothing wrong for the real one, and something for a
catalog with a strategy more: so it can fail. What is derived from the catalog knows the new strategy by itself.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest
import torch
from torch import Tensor

import models.strategies
from benchmarks.plots import COLOURS
from models import artifact
from models.head import cosine_scores
from models.progress import ProgressFn
from models.state import StateReader
from models.strategies import catalog
from models.strategies.artsy.strategy import Artsy
from models.strategies.base import Strategy, StrategyConfig
from models.strategies.catalog import CATALOG, create_strategy
from models.strategies.values import RawScores, Task
from service.dashboard.new_learner_page import PLAIN
from service.routes import catalog as routes
from tests.models.interrupted import QUICK as INTERRUPTED
from tests.models.strategies.quick import QUICK

ROOT = Path(__file__).parents[3]
Catalog = Sequence[type[Strategy[Any]]]
Check = Callable[[Catalog], list[str]]
NUMBERS = {9: "nine", 10: "ten", 11: "eleven", 12: "twelve", 13: "thirteen", 14: "fourteen"}
OLD_IMAGES = {"none": False, "a few": True, "all": True}
UNLEARNING = {"with the images": "needs_images"}
GENERATED = {"benchmarks/RESULTS.md", "models/strategies/catalog.py"}
"""Name every strategy, and need no check: written by a program from what was measured, or the catalog itself."""


@dataclass(frozen=True, kw_only=True)
class DummyConfig(StrategyConfig):
    """None."""


class Dummy(Strategy[DummyConfig]):
    """The mean feature of each class in its first task: all that the contract asks for, and no more."""

    name = "dummy"
    summary = "Knows each class by the mean of its features. For this test."
    config_type = DummyConfig

    def __init__(self, backbone, config) -> None:
        super().__init__(backbone, config)
        self.means = torch.zeros(0, backbone.feature_width)

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        features = self.backbone.embed(task.images).cpu()
        new = range(len(self.means), len(self.classes_))
        self.means = torch.stack([*self.means, *(features[targets == k].mean(dim=0) for k in new)])
        self.calibrate(task)
        return {}

    def score(self, images: Tensor) -> RawScores:
        scores = cosine_scores(self.backbone.embed(images).cpu(), self.means)
        return RawScores(scores, 1 - scores.amax(dim=1))

    def _state_dict(self) -> dict[str, Tensor]:
        return {"means": self.means}

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        shape = (len(self.classes_), self.backbone.feature_width)
        self.means = StateReader(state, what="the means").tensor("means", shape)


DUMMIES = [
    type("Dummy", (Dummy,), {"unlearning": unlearning, "keeps_images": keeps_images})
    for unlearning, keeps_images in product(("none", "exact"), (False, True))
]


def read(file: str) -> str:
    return (ROOT / file).read_text("utf-8")


def flowing(file: str) -> str:
    """Return a document wherever its lines were broken."""
    return " ".join(read(file).split())


def rows(file: str, heading: str) -> list[list[str]]:
    """Return the cells of the table whose first row begins with `heading`."""
    lines = read(file).split(f"\n| {heading} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def differ(told: set[str], expected: set[str]) -> list[str]:
    lacks = [f"does not tell of {name}" for name in sorted(expected - told)]
    return lacks + [f"tells of {name}, which it should not" for name in sorted(told - expected)]


def all_names(strategies: Catalog) -> set[str]:
    return {strategy.name for strategy in strategies}


def in_contract(strategies: Catalog) -> list[str]:
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (listed,) = (c["modules"] for c in contracts if c["type"] == "independence")
    modules = {
        ".".join(s.__module__.split(".")[:3]) if s.name != "dummy" else "models.strategies.dummy"
        for s in strategies
    }
    return differ(set(listed), modules)


def in_overview(strategies: Catalog) -> list[str]:
    table = rows("docs/strategies.md", "strategy")
    wrong = differ(set().union(*(names(row[0]) for row in table)), all_names(strategies))
    told = {name: row for row in table for name in names(row[0])}
    for strategy in strategies:
        if row := told.get(strategy.name):
            if OLD_IMAGES[row[3]] != strategy.keeps_images:
                wrong.append(f"is wrong about the images that {strategy.name} keeps")
            if UNLEARNING.get(row[4], row[4]) != strategy.unlearning:
                wrong.append(f"is wrong about what {strategy.name} unlearns")
    return wrong + [
        f"does not say that {strategy.name} keeps images"
        for strategy in strategies
        if strategy.keeps_images
        and strategy.name
        not in names(flowing("docs/strategies.md").split("No strategy but ")[1].split(" keeps")[0])
    ]


def in_glossary(strategies: Catalog) -> list[str]:
    table = read("docs/glossary.md").split("\n## Strategies\n")[1]
    return differ(set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)), all_names(strategies))


def in_unlearning(strategies: Catalog) -> list[str]:
    able = {(s.name, s.unlearning) for s in strategies if s.unlearning != "none"}
    table = rows("docs/unlearning.md", "Strategy")[:-1]  # the last is all others
    told = {(re.findall(r"`(\w+)`", row[0])[0], row[1].strip("`")) for row in table}
    return differ({" ".join(each) for each in told}, {" ".join(each) for each in able})


def in_growing(strategies: Catalog) -> list[str]:
    told = flowing("docs/growing.md").split("into the same weights (")[1].split(")")[0]
    return differ(names(told), {s.name for s in strategies if s.unlearning == "none"})


def in_bundles(strategies: Catalog) -> list[str]:
    told = (
        flowing("docs/bundles.md")
        .split("`keeps_images` in `GET /v1/strategies` (")[1]
        .split(")")[0]
    )
    return differ(names(told), {s.name for s in strategies if s.keeps_images})


def in_count(strategies: Catalog) -> list[str]:
    said = f"[{NUMBERS[len(strategies)]} strategies to choose from]"
    return [] if said in flowing("README.md") else [f"does not say {said}"]


def in_text(file: str) -> Check:
    return lambda strategies: [
        f"does not name {name}"
        for name in sorted(all_names(strategies))
        if not re.search(rf"\b{name}\b", read(file))
    ]


def in_variants(variants: Mapping[str, Any]) -> Check:
    return lambda strategies: differ({v.split("-")[0] for v in variants}, all_names(strategies))


def in_plain_words(strategies: Catalog) -> list[str]:
    return differ(set(PLAIN), all_names(strategies) - {Artsy.name})


def in_colours(strategies: Catalog) -> list[str]:
    return [] if len(strategies) <= len(COLOURS) else ["gives two strategies one colour"]


CHECKS: dict[str, Check] = {
    "pyproject.toml": in_contract,
    "docs/strategies.md": in_overview,
    "docs/glossary.md": in_glossary,
    "docs/unlearning.md": in_unlearning,
    "docs/growing.md": in_growing,
    "docs/bundles.md": in_bundles,
    "README.md": in_count,
    "CHANGELOG.md": in_text("CHANGELOG.md"),
    "benchmarks/README.md": in_text("benchmarks/README.md"),
    "benchmarks/plots.py": in_colours,
    "service/dashboard/new_learner_page.py": in_plain_words,
    "tests/models/strategies/quick.py": in_variants(QUICK),
    "tests/models/interrupted.py": in_variants(INTERRUPTED),
}


@pytest.mark.parametrize("file", CHECKS)
def test_every_place_knows_every_strategy(file):
    assert CHECKS[file](CATALOG) == []


@pytest.mark.parametrize("file", CHECKS)
def test_every_place_misses_a_strategy_that_is_new(file):
    assert any("dummy" in str(CHECKS[file]((*CATALOG, dummy))) for dummy in DUMMIES) or (
        file in ("README.md", "benchmarks/plots.py") and CHECKS[file]((*CATALOG, Dummy))
    )


def test_the_recipe_names_every_place():
    recipe = read("CONTRIBUTING.md").split("**a strategy**")[1].split("\n\n")[0]

    assert [
        file for file in ("models/strategies/catalog.py", *CHECKS) if f"`{file}`" not in recipe
    ] == []


def test_no_other_file_lists_them_all():
    files = [
        file.relative_to(ROOT).as_posix()
        for folder in (
            "models",
            "registry",
            "service",
            "worker",
            "benchmarks",
            "docs",
            "tests",
            "docker",
        )
        for file in (ROOT / folder).rglob("*")
        if file.suffix in {".py", ".md", ".html", ".js", ".toml", ".yml", ".sh"}
    ]
    files += [
        file.name for file in ROOT.glob("*") if file.is_file() and not file.name.startswith(".")
    ]
    lists = {file for file in files if not in_text(file)(CATALOG)}

    assert lists - GENERATED <= set(CHECKS)


def test_the_catalog_has_every_strategy_there_is():
    for module in walk_packages(models.strategies.__path__, "models.strategies."):
        for value in vars(import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, Strategy) and "name" in vars(value):
                assert value in CATALOG


def test_what_is_derived_knows_it_by_itself(monkeypatch, backbone, make_task):
    monkeypatch.setattr(catalog, "CATALOG", (*CATALOG, Dummy))
    task = make_task(1, ("a", "b"), n=4)
    strategy = create_strategy("dummy", asdict(DummyConfig()), backbone)
    report = strategy.learn(task)
    packed = artifact.pack(strategy, seed=7, code_versions={})

    loaded = artifact.load(packed.manifest, packed.files.__getitem__, backbone)

    found, expected = loaded.predict(task.images), strategy.predict(task.images)
    assert torch.equal(found.probabilities, expected.probabilities)
    assert report.details == {"temperature": strategy.calibration.temperature.value}
    (told,) = (each for each in routes.list_strategies().items if each.name == "dummy")
    assert (told.summary, told.unlearning, told.defaults) == (Dummy.summary, "none", {})

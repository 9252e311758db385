"""The defaults in docs/strategies.md are those of the code."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy_gaussian.config import ArtsyGaussianConfig
from models.strategies.artsy_paper.config import ArtsyPaperConfig

PAGE = (Path(__file__).parents[2] / "docs/strategies.md").read_text("utf-8")
SECTIONS = {
    "How a task is trained": ArtsyGaussianConfig(),
    "`artsy`, the default": ArtsyConfig(),
    "`artsy_gaussian`, the default of earlier releases": ArtsyGaussianConfig(),
    "`artsy_paper`, the literal method": ArtsyPaperConfig(),
}


def told(section):
    """Yield each option of a section's table, and its default as it is written."""
    text = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    for names, defaults in re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|", text, re.MULTILINE):
        values = re.sub(r":.*|`", "", defaults).strip().split(", ")
        yield from zip(re.findall(r"`(\w+)`", names), values, strict=True)


@pytest.mark.parametrize("section", SECTIONS)
def test_defaults_are_those_of_the_code(section):
    config = asdict(SECTIONS[section])
    options = dict(told(section))
    assert len(options) >= 4
    for name, value in options.items():
        written = "null" if config[name] is None else f"{config[name]}"
        assert value == written, name


def test_every_table_of_options_is_looked_at():
    assert PAGE.count("| option | default") == len(SECTIONS)

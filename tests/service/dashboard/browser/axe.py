"""axe-core in a page: what it finds wrong for people who cannot see it, use a mouse, or tell colours apart."""

import json
from functools import cache
from importlib.metadata import files
from typing import Any

from tests.service.dashboard.browser.chromium import Chromium

PACKAGE = "axe-playwright-python"
"""Brings the script. Nothing else of it is used: our own connection to the browser is."""
STANDARDS = (
    *("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"),
    "best-practice",
)
"""WCAG 2.0 to 2.2 at the levels A and AA, and what is good practice besides."""
RUN = """axe.run(document, {options}).then(({{ violations }}) => violations.map((one) => ({{
    rule: one.id,
    help: one.help,
    nodes: one.nodes.slice(0, 4).map((node) => [node.target.flat().join(" "), node.html.slice(0, 160),
        node.failureSummary.replace(/\\s+/g, " ").slice(0, 400)]),
    n: one.nodes.length,
}})))"""
# What contrasts is judged with colours at their end: a transition that a change of the scheme starts has none.
STILL = """(() => {
    const still = new CSSStyleSheet();
    still.replaceSync("*, *::before, *::after { transition: none !important; animation: none !important; }");
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, still];
})()"""


@cache
def script() -> str:
    """Return axe-core."""
    (found,) = [file for file in files(PACKAGE) or () if file.name == "axe.min.js"]
    return str(found.locate().read_text(encoding="utf-8"))  # type: ignore[union-attr]


def prepare(browser: Chromium) -> None:
    """Put axe-core into the page, past its policy, which stays as strict as it is: the debugger does it."""
    browser.evaluate(f"{script()};{STILL}")


def violations(browser: Chromium) -> list[str]:
    """Return what is wrong with the page as it looks now, ready to be read."""
    options: dict[str, Any] = {
        "runOnly": {"type": "tag", "values": list(STANDARDS)},
        "rules": {"target-size": {"enabled": True}},
        "resultTypes": ["violations"],
    }
    found = browser.settle(RUN.format(options=json.dumps(options)))
    return [told(one) for one in found]


def told(violation: dict[str, Any]) -> str:
    """Return a violation as lines: the rule, then the elements that break it."""
    lines = [f"{violation['rule']}: {violation['help']} ({violation['n']} times)"]
    for target, html, summary in violation["nodes"]:
        lines += [f"    {target}", f"        {html}", f"        {summary}"]
    return "\n".join(lines)

"""`filopodia status`: whether anything is wrong, and what to do next."""

import typer
from rich.text import Text

from service.cli.options import JsonOption, KeyOption, UrlOption, connect
from service.cli.output import make_console, print_json

WORDS = {"broken": "broken", "warning": "see to it", "decision": "decide"}
STYLES = {"broken": "red", "warning": "yellow", "decision": "cyan"}


def status(url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """Say whether anything is wrong, worst first, and what to do next. Exit code 1 if something is broken."""
    with connect(url, key) as client:
        health = client.health()
    if as_json:
        print_json(health)
    else:
        console = make_console()
        console.print(Text(health["sentence"], "bold"))
        for finding in health["findings"]:
            severity = finding["severity"]
            word = Text(f"{WORDS.get(severity, severity)}: ", STYLES.get(severity, ""))
            console.print(word + Text(finding["sentence"]))
            console.print(Text(f"  {finding['next_step']}", "dim"))
    if any(finding["severity"] == "broken" for finding in health["findings"]):
        raise typer.Exit(1)

"""`filopodia suspects`: which training images have a label that looks wrong, and what to do about them."""

import time
from typing import Annotated

import typer

from service.cli.options import JsonOption, KeyOption, LearnerArgument, UrlOption, connect
from service.cli.output import make_console, print_json, print_table
from service.client import Filopodia
from service.remote.replies import Insights

WAIT_S = 120.0
PAUSE_S = 1.0


def suspects(
    name: LearnerArgument,
    label: Annotated[
        str | None, typer.Argument(metavar="CLASS", help="Of this class, by its label or name.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most to list.")] = 50,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List images whose label looks wrong: without the image, another class is answered to it."""
    with connect(url, key) as client:
        found = _ask(client, name, label, limit)
    if as_json:
        print_json(found)
        return
    console = make_console()
    if not found["ready"]:
        console.print("It is still being found out: run the command again in a minute.")
        raise typer.Exit(1)
    print_table(
        ("image", "class", "looks like", "that is", "its own", "pulls wrong"),
        (
            (
                image["sample"],
                image["label"],
                image["looks_like"],
                f"{image['score']:.0%}",
                f"{image['own_score']:.0%}",
                str(_n_pulled(found, image["sample"]) or ""),
            )
            for image in found["suspects"]
        ),
        empty="No label looks wrong." if found["n_judged"] else "No image could be judged yet.",
    )
    if found["n_judged"] < found["n_images"]:
        console.print(f"Judged {found['n_judged']} of {found['n_images']} training images.")
    if found["suspects"]:
        first = found["suspects"][0]
        console.print(
            f"Look at them first. To move one: filopodia move-images {name} '{first['looks_like']}' {first['sample']}"
        )
        console.print(f"To take one out: filopodia remove-images {name} {first['sample']}")


def _ask(client: Filopodia, name: str, label: str | None, limit: int) -> Insights:
    """Ask until it is known, for a while."""
    until = time.monotonic() + WAIT_S
    found = client.insights(name, label, limit=limit)
    while not found["ready"] and time.monotonic() < until:
        time.sleep(PAUSE_S)
        found = client.insights(name, label, limit=limit)
    return found


def _n_pulled(found: Insights, sample: str) -> int:
    return next((pull["n"] for pull in found["pulls"] if pull["sample"] == sample), 0)

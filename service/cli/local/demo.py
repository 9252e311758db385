"""`filopodia demo`: a fresh service learns digits on photographs, two at a time, while you watch.

It drives the service through its public HTTP interface only. `demo-compare` runs three strategies on the same stream.
"""

import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from service.cli.consolidating import WELL_ENDED, consolidate_learned
from service.cli.local.demo_closing import Closing, show
from service.cli.local.demo_digits import DigitsMissingError
from service.cli.local.demo_pictures import taught_pictures, untaught_pictures
from service.cli.local.demo_process import ServiceProcess, ServiceStartError
from service.cli.options import JsonOption
from service.cli.output import (
    headline,
    make_console,
    matrix_table,
    percent,
    print_json,
)
from service.cli.progress import follow
from service.client import Filopodia, TaskStatus
from service.remote import replies

LEARNER = "digits"
DATA = "scikit-learn load_digits and load_sample_images"
CONSOLIDATED_AFTER = (2, 5)
"""Tasks after which it trains on what waits: as often as it would have been quiet."""
AVERAGE_TARGET, LAST_TARGET = 0.70, 0.60
KNOWN_TARGET, RECOGNISED_TARGET = 0.85, 0.85
ASKED_DIGITS = 200
SEED = 7
COMPARED = ("artsy", "simplecil", "finetune")

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data directory; a fresh temporary one unless set.")
]


class DemoFailedError(Exception):
    """A task of the demo was not learned."""


@dataclass(frozen=True)
class StreamResult:
    """A strategy's result on the whole stream."""

    strategy: str
    seconds: float
    history: replies.AccuracyHistory


def demo(data: DataOption = None) -> None:
    """Learn handwritten digits on photographs as five tasks of two, and predict unseen ones.

    Asks about things that nobody taught, too. Stays up on a terminal, for a look at the dashboard,
    until Ctrl-C. Fails when the accuracy or what is known is below its target.
    """
    console = make_console()
    with _service(console, data) as service, _client(service) as client:
        result = _learn_stream(client, console, strategy="artsy", name=LEARNER, chatty=True)
        closing = _ask(client)
        show(console, closing)
        is_good = judge(console, result, known=closing.known, recognised=closing.recognised)
        _show_dashboard(console, service)
        if sys.stdin.isatty() and sys.stdout.isatty():
            console.print("\nThe service stays up until you press Ctrl-C.", style="dim")
            with suppress(KeyboardInterrupt):
                service.wait()
        else:
            console.print("\nNot on a terminal: the service is stopped now.", style="dim")
    if not is_good:
        raise typer.Exit(1)


def demo_compare(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Run artsy, simplecil and finetune on the demo's stream and print them side by side."""
    console = make_console(stderr=as_json)
    with _service(console, data) as service, _client(service) as client:
        results = [
            _learn_stream(
                client, console, strategy=strategy, name=f"digits-{strategy}", chatty=False
            )
            for strategy in COMPARED
        ]
    if as_json:
        print_json([vars(result) for result in results])
    else:
        console.print(comparison(results))


@contextmanager
def _service(console: Console, data: Path | None) -> Iterator[ServiceProcess]:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)  # so that the service is stopped with us
    with tempfile.TemporaryDirectory(prefix="filopodia-demo-") as temporary:
        # At its own pace, so that everybody sees the same.
        service = ServiceProcess(
            data or Path(temporary), environment={"FILOPODIA_CONSOLIDATE": "by_hand"}
        )
        started = time.monotonic()
        console.print(f"Starting the service in {service.data_dir} ...", style="dim")
        try:
            with service:
                seconds = time.monotonic() - started
                console.print(f"Service ready at {service.url} after {seconds:.1f} s")
                yield service
        except (ServiceStartError, DemoFailedError, DigitsMissingError) as error:
            make_console(stderr=True).print(str(error), style="red")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            console.print("Stopped.", style="dim")
            raise typer.Exit(1) from None


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _client(service: ServiceProcess) -> Filopodia:
    address = service.address()
    return Filopodia(address.url, address.key)


def _learn_stream(
    client: Filopodia, console: Console, *, strategy: str, name: str, chatty: bool
) -> StreamResult:
    tasks = taught_pictures()
    client.create_learner(name, strategy=strategy, backbone="bundled", metadata={"data": DATA})
    console.print()
    console.print(f"Learner {name}: strategy {strategy}, frozen backbone bundled", style="bold")
    started = time.monotonic()
    for number, pictures in enumerate(tasks, start=1):
        labels = sorted({picture.label for picture in pictures})
        title = f"task {number}/{len(tasks)}  digits {' and '.join(labels)}"
        posted = client.learn_images(name, [picture.as_image() for picture in pictures])
        task = follow(posted, console, title)
        if task.status != TaskStatus.SUCCEEDED:
            error = task.error or {"code": task.status, "detail": ""}
            raise DemoFailedError(f"{title} was not learned: {error['code']} {error['detail']}")
        if chatty:
            _show_matrix(client, console, name)
        if number in CONSOLIDATED_AFTER:
            _consolidate(client, console, name, chatty=chatty)
    history = client.accuracy(name)
    console.print(headline(history))
    return StreamResult(strategy, time.monotonic() - started, history)


def _consolidate(client: Filopodia, console: Console, name: str, *, chatty: bool) -> None:
    """Train on what was learned, if the strategy leaves that for later, and say what came of it."""
    if (consolidation := consolidate_learned(client, name, console)) is None:
        return
    if consolidation.status not in WELL_ENDED:
        raise DemoFailedError(f"The consolidation ended as {consolidation.status}.")
    if chatty and consolidation.status == TaskStatus.SUCCEEDED:
        _show_matrix(client, console, name)
    console.print()


def _show_matrix(client: Filopodia, console: Console, name: str) -> None:
    console.print(Padding(matrix_table(client.accuracy(name)), (0, 0, 0, 2), expand=False))
    console.print()


def _ask(client: Filopodia) -> Closing:
    """Ask about some of the digits that were held out, and about things that nobody taught."""
    taught = chain.from_iterable(taught_pictures())
    held_out = [picture for picture in taught if picture.is_held_out]
    digits = random.Random(SEED).sample(held_out, ASKED_DIGITS)
    untaught = untaught_pictures()
    data = [picture.as_image().data for picture in (*digits, *untaught)]
    answer = client.predict_all(
        LEARNER,
        [(f"{i}.jpg", image) for i, image in enumerate(data)],
        top_k=2,
        min_version=client.learner(LEARNER)["live_version"],
    )
    return Closing.of(digits, untaught, answer)


def judge(console: Console, result: StreamResult, *, known: float, recognised: float) -> bool:
    """Say whether what came out reaches the demo's targets, and return it.

    Args:
        console: Where to say it.
        result: Of the stream.
        known: Share of the digits that is called known.
        recognised: Share of what nobody taught that is called not known.
    """
    reached = [
        ("average", result.history["average"] or 0.0, AVERAGE_TARGET),
        ("last", result.history["last"] or 0.0, LAST_TARGET),
        ("known of what was taught", known, KNOWN_TARGET),
        ("not known of what was not", recognised, RECOGNISED_TARGET),
    ]
    is_good = all(value >= target for _, value, target in reached)
    told = ", ".join(
        f"{name} {percent(value)} (target {percent(target)})" for name, value, target in reached
    )
    console.print()
    console.print(
        f"{'Reached' if is_good else 'Missed'}: {told}; five tasks in {result.seconds:.0f} s",
        style="bold green" if is_good else "bold red",
    )
    return is_good


def _show_dashboard(console: Console, service: ServiceProcess) -> None:
    console.print(f"\nDashboard  {service.url}/admin")
    console.print(f"Log in with the key in {service.data_dir / 'admin.key'}")
    console.print(f"API docs   {service.url}/docs")


def comparison(results: list[StreamResult]) -> Table:
    """Return the results side by side."""
    table = Table(
        title="\nSame images, same order, same split",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("strategy")
    for column in ("average", "last", "forgetting", "passes", "seconds"):
        table.add_column(column, justify="right")
    for result in results:
        passes = result.history["passes"][-1]
        table.add_row(
            result.strategy,
            *(percent(result.history[key]) for key in ("average", "last", "forgetting")),
            "-" if passes is None else f"{passes:.2f}",
            f"{result.seconds:.1f}",
        )
    return table

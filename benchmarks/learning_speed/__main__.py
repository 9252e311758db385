"""How soon a new class is answered, and what it costs: `python -m benchmarks.learning_speed --out FILE`.

A real service with its worker, in processes of their own, one for each part:

    first_answers   a few new classes of few images: seconds from POST to the first answer of one of them
    batches         many images at once, beside one embedding pass of the same images
    growth          task after task of the same size: the late ones beside the fifth, and the service's memory
    idle            what waits below the service while nothing is asked: memory, processor
    predictions     their p99 while tasks are learned or consolidated, beside quiet
    consolidation   of many images, beside a plain loop in a process of its own; and a task that comes meanwhile

`--parts` takes some of them; those that `--out` holds already stay there. Timings are of this machine, everything on
it: take the ratios.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx

from benchmarks.bad_input.service import Service
from benchmarks.files import write_bytes
from benchmarks.learning_speed.beside import idle, predictions
from benchmarks.learning_speed.consolidations import consolidation
from benchmarks.learning_speed.given import JSON, Given
from benchmarks.learning_speed.plain import EPOCHS
from benchmarks.learning_speed.speed import batches, first_answers, growth
from benchmarks.learning_speed.teaching import CONSOLIDATES

PARTS: dict[str, Callable[[Service, Given], JSON]] = {
    "first_answers": first_answers,
    "batches": batches,
    "growth": growth,
    "idle": idle,
    "predictions": predictions,
    "consolidation": consolidation,
}
PATIENCE_S = 600.0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=20, help="of a few classes")
    parser.add_argument("--batch-repeats", type=int, default=3, help="of many images")
    parser.add_argument("--tasks", type=int, default=100, help="that a learner grows to")
    parser.add_argument("--rounds", type=int, default=3, help="of predictions")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each period, and of idling")
    parser.add_argument("--few", type=int, nargs=2, default=(2, 30), metavar=("CLASSES", "IMAGES"))
    parser.add_argument(
        "--many", type=int, nargs=2, default=(10, 100), metavar=("CLASSES", "IMAGES")
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the plain loop")
    parser.add_argument(
        "--adapt",
        choices=("evidence", "always"),
        default="always",
        help="whether evidence decides about what is consolidated; easy images are not trained on then",
    )
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--weights", type=Path, help="of a backbone that is not bundled")
    parser.add_argument("--cifar100", type=Path, help="its images instead of invented characters")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser.parse_args(argv)


def given_of(arguments: argparse.Namespace) -> Given:
    """Return what a command line asks for."""
    return Given(
        backbone=arguments.backbone,
        weights=arguments.weights,
        cifar100=arguments.cifar100,
        repeats=arguments.repeats,
        batch_repeats=arguments.batch_repeats,
        tasks=arguments.tasks,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        few=tuple(arguments.few),
        many=tuple(arguments.many),
        epochs=arguments.epochs,
        adapt=arguments.adapt,
    )


def main(argv: list[str] | None = None) -> int:
    """Measure, print each part when it is done, and write all of them."""
    arguments = parse(argv)
    given = given_of(arguments)
    report: JSON = {
        "command": "python -m benchmarks.learning_speed",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, all processes on them",
        "backbone": given.backbone,
        "images": "CIFAR-100" if given.cifar100 else "invented characters",
        "consolidates": CONSOLIDATES,
        "adapt": given.adapt,
        "parts": _kept(arguments.out),
    }
    for name in arguments.parts:
        report["parts"][name] = found = measure(PARTS[name], given)
        sys.stdout.write(json.dumps({name: found}) + "\n")
        sys.stdout.flush()
        if arguments.out is not None:
            write_bytes(arguments.out, (json.dumps(report, indent=1) + "\n").encode())
    return 0


def measure(part: Callable[[Service, Given], JSON], given: Given) -> JSON:
    """Measure one part with a service of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-speed-") as folder,
        Service(Path(folder), backbone=given.backbone, settings=given.settings) as service,
    ):
        service.client.timeout = httpx.Timeout(PATIENCE_S)
        return part(service, given)


def _kept(out: Path | None) -> dict[str, JSON]:
    """Return the parts that a file holds already."""
    if out is None or not out.exists():
        return {}
    parts: dict[str, JSON] = json.loads(out.read_text())["parts"]
    return parts


if __name__ == "__main__":
    sys.exit(main())

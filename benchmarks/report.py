"""Everything that was measured, in one page: reads `results/*.json`, writes `RESULTS.md` and pictures.

    python -m benchmarks.report [--check]

The page comes from the files alone, so it cannot say what no file says; a test compares it with them.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console

from benchmarks import metaplasticity, synaptic_intelligence
from benchmarks.plots import is_current, save
from benchmarks.sections import (
    ablation,
    comparison,
    few_images,
    held,
    learning,
    papers,
    reliability,
    screening,
    serving,
    starting,
    training,
)
from benchmarks.sections.common import Section, command, prose

RESULTS = Path(__file__).parent / "results"
HEADER = """<!-- Written by `python -m benchmarks.report` from benchmarks/results/*.json: do not edit. -->

# Results

Every number here is in a file of [results](results), and the command above a table measures it again: DIR is the
folder of the images, FILE the backbone's weights, FOLDER a working folder (see the modules' own help). After it,
`python -m benchmarks.report` writes this page.

**How to read it.** Accuracies are per cent. "a ± b" is mean and standard deviation over seeds, which draw the order of
the classes and everything random; one seed has no deviation. A difference smaller than b may be chance.

| word | meaning |
| --- | --- |
| last | accuracy on the test images of all classes after the last task, the task not given |
| average | mean over the steps of the accuracy on all classes seen by then |
| forgetting | how far accuracy on a task fell from its best, mean over the old tasks; lower is better |
| routing | share of the images with a functional synapse for which that of their own task was among them |
| passes | forwards of the backbone an image, after the last task |
| ECE | expected calibration error: how far scores are from the share that is right; lower is better |
| AUROC | how well novelty tells classes learned from those to come, half-way; 50 is chance |
| s a task, images/s | seconds to learn a task, images predicted a second after the last |
| state MB | everything learned, without the backbone |
| all at once | learned all tasks as one: an upper bound, not a continual learner |

**Timings are noisy.** They come from the machine named, mostly with other work on it: take ratios of rows of one file,
and only large ones.

**What the backbone knew before.** The ViT backbones were trained on ImageNet-21k, some of them then on ImageNet. Every
class of Tiny ImageNet is an ImageNet class, so they have seen all of them under their labels, and the bundled backbone
was distilled on Tiny ImageNet itself: those numbers measure routing and retention, not recognition of anything new.
CIFAR-100 has other images, at 32 pixels, but some of its classes (lion, orange) are ImageNet's too and most have a
relative among the 21,000: a high accuracy says that the features carry over. Compare strategies on one backbone, not
these numbers with those of networks that started from nothing."""
NOT_RUN = "Not run. This would measure it:"


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write RESULTS.md and its pictures.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit 1 where RESULTS.md or a picture is not current",
    )
    arguments = parser.parse_args(argv)
    page = arguments.results.parent / "RESULTS.md"
    figures = arguments.results / "figures"
    text, pictures = build(arguments.results)
    if arguments.check:
        old = stale(page, figures, text, pictures)
        for path in old:
            Console().print(f"{path} is not current: run python -m benchmarks.report")
        return 1 if old else 0
    page.write_text(text)
    for other in set(figures.glob("*.svg")) - {figures / f"{name}.svg" for name in pictures}:
        other.unlink()
    for name, draw in pictures.items():
        save(draw(), figures / f"{name}.svg")
    return 0


def stale(
    page: Path, figures: Path, text: str, pictures: dict[str, Callable[[], Figure]]
) -> list[Path]:
    """Return what differs from the page and the pictures that `build` made, or is of no use any more."""
    named = {figures / f"{name}.svg": draw for name, draw in pictures.items()}
    old = [path for path, draw in named.items() if not is_current(draw(), path)]
    if not page.exists() or page.read_text() != text:
        old.insert(0, page)
    return old + sorted(set(figures.glob("*.svg")) - set(named))


def build(results: Path) -> tuple[str, dict[str, Callable[[], Figure]]]:
    """Build the page and what draws its pictures from a folder of JSON files."""
    chapters: dict[str, list[Section]] = {title: [] for title in CHAPTERS}
    unknown = []
    for path in sorted(results.glob("*.json")):
        content = json.loads(path.read_text())
        chapter = recognise(path.stem, content)
        if chapter is None:
            unknown.append(f"- [{path.name}](results/{path.name})")
            continue
        title, read = chapter
        chapters[title].append(read(path.stem, content))
    parts, pictures = [HEADER], {}
    for title, own in chapters.items():
        parts.append(f"## {title}")
        for section in (*own, *missing(title, results)):
            parts += section.text
            pictures.update(section.pictures)
    if unknown:
        parts += ["## Files not shown here", "\n".join(unknown)]
    return "\n\n".join(prose(part.strip("\n")) for part in parts if part) + "\n", pictures


CHAPTERS = {
    "Class-incremental learning": ("class_incremental", comparison.class_incremental),
    "Few images a class": ("few_images", few_images.few_images),
    "Very many classes": ("many_classes", few_images.many_classes),
    "Predictions over HTTP": ("serving", serving.served),
    "What a prediction costs": ("prediction_cost", serving.costs),
    "Starting": ("starting", starting.started),
    "Learning speed": ("learning_speed", learning.learning_speed),
    "How fast a sub-network is trained": ("training_pace", training.training_pace),
    "What Artsy's parts are worth": ("ablation", ablation.ablation),
    "Good and bad gate features (Fig. 4 of the Artsy paper)": ("gate_features", papers.gates),
    "Synaptic Intelligence": ("synaptic_intelligence", papers.intelligence),
    "Metaplasticity": ("metaplasticity", papers.plasticity),
    "Backbones": ("backbone", papers.backbones),
    "Poisoned batches": ("poisoning", screening.poisoned),
    "Faults": ("chaos", reliability.faults),
    "Going on after a kill": ("resume", reliability.resumed),
    "Stopping": ("stops", reliability.stopped),
    "Restarts in turn": ("rolling", reliability.rolled),
    "Bad input": ("bad_input", reliability.overloaded),
    "A load that is held": ("load", held.held),
    "Generated requests": ("contract_fuzz", reliability.fuzzed),
}
"""Titles in order, with the module that writes the files and what reads them."""


def module_of(stem: str, content: dict[str, Any]) -> str | None:
    """Tell which benchmark wrote a file."""
    if "command" in content:
        name: str = content["command"].split()[2]
        return name.removeprefix("benchmarks.")
    if stem.startswith("ablation"):
        return "ablation"
    return "class_incremental" if "protocol" in content and "rows" in content else None


def recognise(
    stem: str, content: dict[str, Any]
) -> tuple[str, Callable[[str, dict[str, Any]], Section]] | None:
    """Find the chapter of a file and what reads it."""
    wanted = module_of(stem, content)
    for title, (module, read) in CHAPTERS.items():
        if module == wanted:
            return title, read
    return None


def missing(title: str, results: Path) -> list[Section]:
    """Say of each experiment of a chapter that no file holds that it was not run, with the command."""
    module, _ = CHAPTERS[title]
    contents = {path.stem: json.loads(path.read_text()) for path in results.glob("*.json")}
    own = [c for stem, c in contents.items() if module_of(stem, c) == module]
    call = f"python -m benchmarks.{module}"
    if module in EXPERIMENTS:
        done = {content["command"].split()[-1] for content in own}
        prefix, names = EXPERIMENTS[module]
        return [
            Section(
                [
                    f"### {name}",
                    NOT_RUN,
                    command(
                        f"{call} {name} --data DIR --out benchmarks/results/{prefix}_{name}.json"
                    ),
                ]
            )
            for name in names
            if name not in done
        ]
    if own:
        return []
    if module in ALONE:
        return [Section([NOT_RUN, command(f"{call} --out benchmarks/results/{module}.json")])]
    if module == "few_images":
        line = f"{call} --cifar100 DIR --photos FOLDER --out benchmarks/results/{module}.json"
        return [Section([NOT_RUN, command(line)])]
    if module == "training_pace":
        return [
            Section([NOT_RUN, command(f"{call} --data DIR --out benchmarks/results/{module}.json")])
        ]
    cache = " --cache FOLDER" if module == "ablation" else ""
    line = f"{call} --data DIR --weights FILE{cache} --out benchmarks/results/{module}.json"
    return [Section([NOT_RUN, command(line)])]


EXPERIMENTS = {
    "synaptic_intelligence": ("si", tuple(synaptic_intelligence.EXPERIMENTS)),
    "metaplasticity": ("mp", tuple(metaplasticity.EXPERIMENTS)),
}
"""Benchmarks of several experiments: how their files' names begin, and what they are called."""
ALONE = frozenset(
    {
        *("chaos", "resume", "stops", "bad_input", "load", "contract_fuzz"),
        *("many_classes", "learning_speed", "serving", "prediction_cost", "starting"),
    }
)
"""Benchmarks that need no images and no weights."""


if __name__ == "__main__":
    sys.exit(main())

"""A learner of very many classes: what its heads cost to weigh, to build, to keep, and to ask about one image.

    python -m benchmarks.many_classes --out benchmarks/results/many_classes.json

Features are drawn: classes around random centres, so that every head has something to say; what it costs does not
depend on what they show. Widths are those of what is read of a pass of the bundled backbone and of a ViT-Base, as the
class token alone and with the patches beside it. All heads are built, more than evidence mostly leaves. One thread.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from torch import Tensor

from benchmarks.files import write_rows
from models.closed_form import offered
from models.evidence import EvidenceHead, Opinion, folds, weigh
from models.reference import MOST_BETWEEN, MOST_WITHIN, Prior, Reference
from models.shown import FeatureRecords, Shown

WIDTHS = (288, 576, 768, 1536)
REPEATS = 30
N_NOTHING = 29
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Row:
    """The cost of one learner."""

    width: int
    """Of features, in numbers."""
    classes: int
    images: int
    """A class."""
    weigh_seconds: float
    """After a task: every head asked about rows left out in five folds."""
    build_seconds: float
    """At loading: all heads."""
    megabytes: float
    """That they take in memory."""
    one_image_ms: float
    """For one image, beside the pass."""
    state_kb_per_class: float
    """That is stored, what is stored once for all classes left out."""


def drawn(width: int, n_classes: int, n_images: int) -> tuple[FeatureRecords, Shown, Reference]:
    """Draw what a learner was shown in one task, and a background."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(n_classes, width, generator=generator)
    targets = torch.arange(n_classes).repeat_interleave(n_images)
    features = 0.7 * centres[targets] + torch.randn(len(targets), width, generator=generator)
    records = FeatureRecords.of(features, targets, n_classes, seed=0)
    shown = Shown.merged([(1, torch.arange(n_classes), records, None)], n_classes, width)
    parts = (MOST_WITHIN, MOST_BETWEEN, N_NOTHING)
    within, between, nothing = (torch.randn(n, width, generator=generator).half() for n in parts)
    mean = 0.1 * torch.randn(width, generator=generator)
    one = torch.tensor(1.0)
    reference = Reference(mean, within, one, between, torch.ones(len(between)), nothing)
    return records, shown, reference


def measure(width: int, n_classes: int, n_images: int) -> Row:
    """Measure one learner."""
    records, shown, reference = drawn(width, n_classes, n_images)
    prior = Prior(reference)
    weigh_seconds, _ = timed(lambda: weigh(shown, prior, folds(shown)))
    heads = offered(shown, prior)
    opinions = [Opinion(head, 1 / len(heads), 1.0, None) for head in heads]
    build_seconds, head = timed(lambda: EvidenceHead(shown, prior, opinions))
    image = records.rows[:1].float()
    head.answer(image)
    seconds, _ = timed(lambda: [head.answer(image) for _ in range(REPEATS)])
    stored = sum(tensor_bytes(tensor) for tensor in records.state_dict("").values())
    return Row(
        width=width,
        classes=n_classes,
        images=n_images,
        weigh_seconds=round(weigh_seconds, 2),
        build_seconds=round(build_seconds, 2),
        megabytes=round(tensor_bytes(head) / 1e6, 1),
        one_image_ms=round(seconds / REPEATS * 1000, 2),
        state_kb_per_class=round(stored / n_classes / 1000, 1),
    )


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return the processor time that work takes, in seconds, and what it returned."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def tensor_bytes(thing: Any) -> int:
    """Return how many bytes all tensors take that a thing is made of."""
    seen: dict[int, int] = {}

    def add(part: Any) -> None:
        if isinstance(part, Tensor):
            storage = part.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
        elif isinstance(part, dict):
            add(list(part.values()))
        elif isinstance(part, list | tuple):
            for other in part:
                add(other)
        elif hasattr(part, "__dict__"):
            add(vars(part))

    add(thing)
    return sum(seen.values())


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="A learner of very many classes.")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = []
    for width in given.widths:
        rows.append(asdict(measure(width, given.classes, given.images)))
        Console().print(json.dumps(rows[-1]))
        if given.out is not None:
            write_rows(given.out, {"command": "python -m benchmarks.many_classes"}, rows)


if __name__ == "__main__":
    main()

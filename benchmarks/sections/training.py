"""The section of `benchmarks.training_pace`: how fast each way of training is beside the plain loop."""

from collections.abc import Sequence

import numpy as np

from benchmarks.sections.common import JSON, Section, command, table

PLAIN = "plain"


def training_pace(stem: str, content: JSON) -> Section:
    """Show one file: means over the seeds, and the ratios seed by seed."""
    rows: Sequence[JSON] = content["rows"]
    ways = list(dict.fromkeys(row["way"] for row in rows))
    seeds = sorted({row["seed"] for row in rows})
    plain = {row["seed"]: row["seconds"] for row in rows if row["way"] == PLAIN}
    lines = []
    for way in ways:
        own = [row for row in rows if row["way"] == way]
        ratios = [plain[row["seed"]] / row["seconds"] for row in own if row["seconds"] > 0]
        lines.append(
            [
                way,
                f"{_mean(own, 'seconds'):.1f}",
                f"{np.mean(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
                if ratios
                else "-",
                f"{100 * _mean(own, 'accuracy'):.1f}",
                f"{_mean(own, 'loss'):.3f}",
                f"{100 * _mean(own, 'nearest'):.1f}",
            ]
        )
    text = (
        f"{content['classes']} classes of {content['images']} images of {content['data']}, backbone "
        f"{content['backbone']} at {content['image_size']} pixels, seeds {', '.join(map(str, seeds))}; means, and "
        f"the smallest and largest ratio. Processor time of one thread ({content['machine']}, {content['cpu']}, "
        f"{'with' if content['bfloat16'] else 'without'} bfloat16, PyTorch {content['torch']}). Where `ours` does one "
        "thing otherwise: `all blocks` trains in every block, `half the patches` shows half of a view, other ones each "
        "time, and `views anew` draws each view when it is shown."
    )
    of_backbone = (
        ()
        if content["backbone"] == "bundled"
        else (
            f"--backbone {content['backbone']} --weights FILE --image-size {content['image_size']}",
        )
    )
    call = command(
        "python -m benchmarks.training_pace --data DIR",
        *of_backbone,
        f"--classes {content['classes']} --images {content['images']}",
        f"--seeds {' '.join(map(str, seeds))} --ways {' '.join(map(_quoted, ways))}",
        f"--out benchmarks/results/{stem}.json",
    )
    headings = ["way", "s", "times as fast as plain", "accuracy", "loss", "nearest prototype"]
    return Section([f"### {stem}", call, text, table(headings, lines)])


def _mean(rows: Sequence[JSON], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def _quoted(way: str) -> str:
    return f'"{way}"' if " " in way else way

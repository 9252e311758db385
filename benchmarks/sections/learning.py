"""The section of `benchmarks.learning_speed`: how soon classes are answered, and what it costs."""

from collections.abc import Callable

from benchmarks.sections.common import JSON, Section, command, table


def learning_speed(stem: str, report: JSON) -> Section:
    """Show one run; parts that were not measured are left out."""
    parts: JSON = report["parts"]
    how = "consolidates in tasks of their own" if report["consolidates"] else "trains in each task"
    text = (
        f"Backbone {report['backbone']}, {report['images']}; the release measured {how}. Seconds count from the POST "
        f"until an image of a new class is answered by a version that knows it. {report['machine']}."
    )
    lines = [line for name, read in LINES.items() if name in parts for line in read(parts[name])]
    call = command(
        f"python -m benchmarks.learning_speed --backbone {report['backbone']}",
        *(["--cifar100 DIR"] if report["images"] == "CIFAR-100" else []),
        *(["--adapt evidence"] if report["adapt"] == "evidence" else []),
        f"--parts {' '.join(name for name in LINES if name in parts)}",
        *([f"--tasks {parts['growth']['tasks']}"] if "growth" in parts else []),
        f"--out benchmarks/results/{stem}.json",
    )
    return Section([f"### {stem}", call, text, table(("what", "measured", "over"), lines)])


Line = tuple[str, str, str]


def _first_answers(part: JSON) -> list[Line]:
    what = f"{part['classes']} new classes x {part['images']} images"
    n = f"{len(part['rows']) - 1} tasks"
    return [
        (f"{what}: first answer, p50 / p95", f"{part['p50_s']:.2f} / {part['p95_s']:.2f} s", n),
        (f"{what}: published, p50", f"{part['published_p50_s']:.2f} s", n),
        (f"{what}: the first task of a service", f"{part['first_s']:.2f} s", "1 task"),
    ]


def _batches(part: JSON) -> list[Line]:
    what = f"{part['classes']} classes x {part['images']} images"
    n = f"{len(part['rows'])} tasks"
    return [
        (f"{what}: first answer", f"{part['answered_s']:.1f} s", n),
        (f"{what}: the same in embedding passes", f"{part['passes']:.1f}", n),
    ]


def _growth(part: JSON) -> list[Line]:
    n = f"{part['tasks']} tasks"
    seconds = f"{part['early_s']:.2f} and {part['late_s']:.2f} s"
    return [
        (f"task {part['tasks']} over task 5", f"{part['ratio']:.2f} ({seconds})", n),
        ("memory of the service, a task", f"{part['mib_a_task']:.1f} MiB", n),
    ]


def _idle(part: JSON) -> list[Line]:
    waiting = part["waiting"]
    told = ", ".join(f"{cost['rss_mib']:.0f} MiB, {cost['cpu_s']:g} s CPU" for cost in waiting)
    return [("learn processes that wait", told or "none", f"{part['seconds']:.0f} s")]


def _predictions(part: JSON) -> list[Line]:
    return [
        (
            f"predictions' p50 / p99, {name}",
            f"{part[name]['p50_ms']:.0f} / {part[name]['p99_ms']:.0f} ms, {part[name]['p99_ratio']:.2f} x quiet",
            f"{part[name]['n']} answers, {part[name]['n_failed']} failed",
        )
        for name in ("quiet", "learning", "consolidating")
        if name in part
    ]


def _consolidation(part: JSON) -> list[Line]:
    what = f"{part['classes']} classes x {part['images']} images"
    lines = []
    for row in part["rows"]:
        plain, ends = row["plain"], row.get("status", "in the task")
        ours = row.get("consolidation_s", row["phases"].get("training", 0.0))
        said = f"{ours:.1f} s ({ends}), plain loop {plain['all_s']:.1f} s, {row['times_faster']} x"
        lines.append((f"training on {what}", said, "1 run"))
        after = row.get("accuracy_consolidated")
        told = [f"{100 * row['accuracy_learned']:.1f} learned"]
        told += [] if after is None else [f"{100 * after:.1f} consolidated"]
        lines.append(
            ("its accuracy, %", ", ".join([*told, f"{100 * plain['accuracy']:.1f} plain"]), "1 run")
        )
    if down := part.get("put_down"):
        said = f"{down['answered_s']:.2f} s; it ended {down['status']}"
        lines.append(("a task that comes while one is consolidated: first answer", said, "1 task"))
    return lines


LINES: dict[str, Callable[[JSON], list[Line]]] = {
    "first_answers": _first_answers,
    "batches": _batches,
    "growth": _growth,
    "idle": _idle,
    "predictions": _predictions,
    "consolidation": _consolidation,
}
"""What reads each part, in the order in which they are shown."""

"""The section of `benchmarks.starting`: how soon a service answers, and what commands and memory cost."""

from statistics import median

from benchmarks.sections.common import JSON, Section, command, table

READY_S, COMMAND_S, MEMORY_MIB = 5.0, 0.5, 500
"""What is wanted: of a start, of a command, and of memory."""


def started(stem: str, report: JSON) -> Section:
    """Show one run: starts, commands, memory."""
    rows: list[JSON] = report["rows"]
    trees = list(dict.fromkeys(row["tree"] for row in rows))
    beside = [] if trees == ["this"] else ["--beside FOLDER"]
    call = command(
        "python -m benchmarks.starting",
        f"--times {report['times']}",
        *beside,
        f"--out benchmarks/results/{stem}.json",
    )
    words = (
        f"Medians of {report['times']} starts, the fewest seconds in brackets, from the start of the process until "
        f"`/readyz` answers 200, and of the commands beside that service. Wanted are {READY_S:g} s, {COMMAND_S:g} s a "
        f"command and {MEMORY_MIB} MiB. {report['machine']}, with other work on it."
    )
    if beside:
        words += " `beside` is another checkout, started in turn with this one."
    starts = [
        (
            tree,
            on,
            *(_shown([row[unit] for row in mine]) for unit in ("seconds", "cpu_s")),
            _steps(mine),
        )
        for on in ("empty", "one learner")
        for tree in trees
        if (mine := [row for row in rows if row["tree"] == tree and row.get("on") == on])
    ]
    names = dict.fromkeys(row["command"] for row in rows if "command" in row)
    commands = [
        (
            f"`filopodia {name}`",
            tree,
            *(_shown([row[unit] for row in mine], 2) for unit in ("seconds", "cpu_s")),
        )
        for name in names
        for tree in trees
        if (mine := [row for row in rows if row["tree"] == tree and row.get("command") == name])
    ]
    memory = [
        (row["tree"], *(str(row["memory"][kind]) for kind in ("rss_mib", "pss_mib", "private_mib")))
        for row in rows
        if "memory" in row
    ]
    kinds = ("resident MiB", "with shares of what is shared", "private, written")
    return Section(
        [
            f"### {stem}",
            call,
            words,
            table(("tree", "data directory", "s", "processor s", "of them, s"), starts),
            table(("command", "tree", "s", "processor s"), commands),
            table(("tree", *kinds), memory),
        ]
    )


def _shown(values: list[float], digits: int = 1) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f})"


def _steps(rows: list[JSON]) -> str:
    """Return the medians of what a start waits for, as far as its log tells."""
    names = dict.fromkeys(name for row in rows for name in row["steps"])
    return ", ".join(
        f"{name[0].lower()}{name[1:]} {median(row['steps'][name] for row in rows):.1f}"
        for name in names
    )

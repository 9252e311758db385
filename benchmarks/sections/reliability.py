"""Sections of `benchmarks.chaos`, `.resume` and `.stops`: what was struck, and what was broken."""

from benchmarks.chaos.report import COLUMNS
from benchmarks.sections.common import JSON, Section, command, table


def faults(stem: str, report: JSON) -> Section:
    """Show one run of the fault tests."""
    struck, uploads, tasks = report["faults"], report["uploads"], report["tasks"]
    verdict = "all promises kept" if report["ok"] else "**broken**, see below"
    machine = report["machine"]
    summary = (
        f"{report['seconds']:.0f} s, {struck['n']} faults, {struck['kills']} of them kills with SIGKILL: {verdict}. "
        f"{uploads['acknowledged']} uploads acknowledged, {uploads['unknown']} never answered; "
        f"{tasks['succeeded']} tasks succeeded, {tasks['failed']} ended with an explained failure. "
        f"{machine['processor']}, {machine['cores']} cores, all processes and clients on them."
    )
    promises = table(
        ("promise", "checked", "broken"),
        [(v["promise"], str(v["checked"]), str(v["broken"])) for v in report["promises"]],
    )
    violations = "\n".join(
        f"- {v['promise']}: {text}" for v in report["promises"] for text in v["violations"]
    )
    predictions = table(
        ("predictions", *(column.replace("_", " ") for column in COLUMNS[1:])),
        [_line(name, row) for name, row in report["predictions"].items()],
    )
    takeover = table(
        ("taken over after kill -9 of", "waits", "p50 s", "longest s", "bound s"),
        [
            (
                name.removeprefix("kill_"),
                str(row["n"]),
                f"{row['p50_s']:.1f}",
                f"{row['max_s']:.1f}",
                ", ".join(f"{bound:g}" for bound in row["bounds_s"]),
            )
            for name, row in report["takeover"].items()
            if row["n"]
        ],
    )
    call = f"python -m benchmarks.chaos --profile {report['profile']} --seed {report['seed']}"
    text = [
        f"### {stem}",
        command(call, f"--out benchmarks/results/{stem}.json"),
        summary,
        promises,
        violations,
        predictions,
        takeover,
    ]
    return Section([part for part in text if part])


def resumed(stem: str, report: JSON) -> Section:
    """Show how learning ended that was killed at random moments."""
    summary, protocol = report["summary"], report["protocol"]
    call = f"python -m benchmarks.resume --kills {summary['n_kills']} --seed {report['seed']}"
    text = (
        f"{summary['n_equal']} of {summary['n_kills']} attempts that were killed while they trained ended with the "
        f"same artifact as one that was not, byte by byte; {summary['n_with_checkpoint']} had a checkpoint to go on "
        f"from, one every {protocol['checkpoint_s']:g} s. Work lost: median {summary['lost_s_median']:.1f} s, "
        f"most {summary['lost_s_max']:.1f} s. `{protocol['strategy']}` on the backbone {protocol['backbone']}; "
        f"{report['machine']}."
    )
    return Section([f"### {stem}", command(call, f"--out benchmarks/results/{stem}.json"), text])


def stopped(stem: str, report: JSON) -> Section:
    """Show what became of requests that were under way when a service was asked to stop."""
    summary, rows = report["summary"], report["rows"]
    text = (
        f"{summary['answered']} of {summary['accepted']} predictions that a service had accepted when it was "
        f"asked to stop were answered, in {len(rows)} stops; the longest took "
        f"{summary['longest_s']:.1f} s. {report['machine']}."
    )
    call = f"python -m benchmarks.stops --times {len(rows)}"
    return Section([f"### {stem}", command(call, f"--out benchmarks/results/{stem}.json"), text])


def _line(name: str, row: JSON) -> tuple[str, ...]:
    cells = (row.get(column) for column in COLUMNS[1:])
    return (name, *("" if cell is None else f"{cell:g}" for cell in cells))

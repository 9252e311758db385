"""Sections of `benchmarks.chaos`, `.resume` and `.stops`: what was struck, and what was broken."""

from collections import Counter

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
    promises = promises_table(report["promises"])
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
        takeover if any(row["n"] for row in report["takeover"].values()) else "",
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


def rolled(stem: str, report: JSON) -> Section:
    """Show what became of requests while services behind a proxy were restarted in turn."""
    rows = table(
        ("proxy", "drain s", "restarts", "predictions", "failed", "changes, by answer"),
        [
            (
                f"{row['proxy']} {row['version']}",
                f"{row['drain_s']:g}",
                str(row["restarts"]),
                str(sum(row["small"].values()) + sum(row["large"].values())),
                str(row["failed"]),
                ", ".join(f"{n} x {status}" for status, n in row["change"].items()),
            )
            for row in report["rows"]
        ],
    )
    largest = max(row["large_bytes"] for row in report["rows"])
    text = (
        "Two services on one database, restarted in turn by SIGTERM under load, behind proxies that are told what "
        "[deployment](../docs/deployment.md#restarts-behind-a-proxy) says. Predictions of small images and of "
        f"{largest / 1e6:.1f} MB, on connections kept alive. {report['machine']}."
    )
    drains = " ".join(f"{drain:g}" for drain in sorted({row["drain_s"] for row in report["rows"]}))
    call = f"python -m benchmarks.rolling --drain-s {drains}"
    where = f"--out benchmarks/results/{stem}.json"
    return Section([f"### {stem}", command(call, where), text, rows])


def overloaded(stem: str, report: JSON) -> Section:
    """Show what bad input did to everybody else."""
    summary, posts, moves = report["summary"], report["posts"], report["moves"]
    rows = table(
        (
            "attack",
            "p50 x quiet",
            "p99 x quiet",
            "quiet p99 ms",
            "more memory MiB",
            "failed of",
            "answers",
        ),
        [
            (
                row["what"],
                f"{row['p50_ratio']:.2f}",
                f"{row['p99_ratio']:.2f}",
                f"{row['quiet_p99_ms']:.0f}",
                f"{row['extra_mib']:.0f}",
                f"{row['n_failed']} of {row['n']}",
                ", ".join(f"{n} x {status}" for status, n in row["answers"].items()),
            )
            for row in report["rows"]
        ],
    )
    text = (
        f"One client asks for {report['predictions_per_s']} predictions a second on the backbone "
        f"{report['backbone']}; quiet periods and attacked ones of {report['seconds']:g} s take turns, "
        f"{report['rounds']} of each, and medians are compared. Targets: p99 at most "
        f"{summary['targets']['p99_ratio']:g} x quiet, memory at most {summary['targets']['extra_mib']} MiB above it. "
        f"{report['machine']}."
    )
    rest = (
        f"{posts['posts']} posts at once with one Idempotency-Key made {posts['tasks']} task. The served version was "
        f"moved {moves['moves']} times under load: {moves['failed']} of {moves['predictions']} predictions failed, and "
        f"the longest move took {moves['longest_s']:.2f} s to be seen by all of them."
    )
    call = f"python -m benchmarks.bad_input --rounds {report['rounds']} --seconds {report['seconds']:g}"
    where = f"--out benchmarks/results/{stem}.json"
    return Section([f"### {stem}", command(call, where), text, rows, rest])


def fuzzed(stem: str, report: JSON) -> Section:
    """Show what generated requests found."""
    statuses = ", ".join(f"{n} x {status}" for status, n in report["statuses"].items())
    text = (
        f"{report['cases']} requests that schemathesis {report['schemathesis']} made from the schema, good and bad, "
        f"to {report['n_operations']} operations with a key of each role and without: {report['n_5xx']} answers of "
        f"5xx, {report['n_violations']} violations of the schema. {statuses}."
    )
    call = f"python -m benchmarks.contract_fuzz --cases 3000 --seed {report['seed']}"
    return Section([f"### {stem}", command(call, f"--out benchmarks/results/{stem}.json"), text])


CUT, UNLEARNED = "after a power cut: ", ", while some is unlearned"


def promises_table(verdicts: list[JSON]) -> str:
    """Write a line a promise: how often it was checked each time it was, and how often it was broken."""
    checked: dict[str, list[str]] = {}
    broken: Counter[str] = Counter()
    for verdict in verdicts:
        said: str = verdict["promise"]
        name = said.removeprefix(CUT).removesuffix(UNLEARNED)
        column = 2 if said.startswith(CUT) else 1 if said.endswith(UNLEARNED) else 0
        checked.setdefault(name, ["", "", ""])[column] = str(verdict["checked"])
        broken[name] += verdict["broken"]
    return table(
        ("promise", "checked", "while some is unlearned", "after a power cut", "broken"),
        [(name, *times, str(broken[name])) for name, times in checked.items()],
    )


def _line(name: str, row: JSON) -> tuple[str, ...]:
    cells = (row.get(column) for column in COLUMNS[1:])
    return (name, *("" if cell is None else f"{cell:g}" for cell in cells))

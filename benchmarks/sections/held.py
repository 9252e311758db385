"""The section of `benchmarks.load`: what was held, what it cost, and what was broken."""

from benchmarks.sections.common import JSON, Section, command, table


def held(stem: str, report: JSON) -> Section:
    """Show one load."""
    profile, costs = report["profile"], report["service"]
    verdict = "all promises kept" if report["ok"] else "**broken**, see below"
    text = (
        f"{profile['clients']} clients that predict, bursts of {profile['uploads']} uploads, {profile['streams']} "
        f"event streams and {profile['slow_bodies']} slow bodies at once, for "
        f"{profile['load_s'] / 60:g} minutes: {verdict}. Backbone {profile['backbone']}; "
        f"{report['uploads']} uploads, their tasks: "
        f"{_counts(report['tasks'])}. {report['machine']}."
    )
    promises = table(
        ("promise", "checked", "broken"),
        [(v["promise"], str(v["checked"]), str(v["broken"])) for v in report["promises"]],
    )
    violations = "\n".join(
        f"- {v['promise']}: {line}" for v in report["promises"] for line in v["violations"]
    )
    waits = table(
        ("requests", "asked", "admitted", "refused", "p50 ms", "p99 ms", "longest ms"),
        [
            _line(name, row)
            for name, row in (
                *((f"neighbour, {when}", row) for when, row in report["neighbour"].items()),
                *report["clients"].items(),
            )
        ],
    )
    ratios = "Times as long as before the load: " + ", ".join(
        f"{name} {ratio:g}" for name, ratio in report["ratios"].items()
    )
    figures = table(
        ("the service", "second quarter", "last quarter", "a minute", "grown", "allowed"),
        [
            (name, *(f"{went[key]:g}" for key in TREND))
            for name, went in costs.get("trends", {}).items()
        ],
    )
    outcomes = table(
        ("answers", "by status"),
        [(what, _counts(counts)) for what, counts in report["outcomes"].items()],
    )
    call = [
        f"python -m benchmarks.load --profile {profile['name']} --seed {report['seed']}",
        f"--minutes {profile['load_s'] / 60:g} --clients {profile['clients']} --uploads {profile['uploads']}",
        f"--streams {profile['streams']} --slow-bodies {profile['slow_bodies']}",
        f"--out benchmarks/results/{stem}.json",
    ]
    parts = [f"### {stem}", command(*call), text, promises, violations, waits, ratios + "."]
    return Section([part for part in (*parts, figures, outcomes) if part])


TREND = ("second_quarter", "last_quarter", "per_minute", "grown", "allowed")


def _line(name: str, row: JSON) -> tuple[str, ...]:
    return (name, *("" if row[key] is None else f"{row[key]:g}" for key in row))


def _counts(counts: JSON) -> str:
    return ", ".join(f"{n} x {name}" for name, n in counts.items())

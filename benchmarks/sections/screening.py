"""Section of `benchmarks.poisoning`: which batches were held before they were learned."""

from benchmarks.sections.common import JSON, Section, command, table


def poisoned(stem: str, report: JSON) -> Section:
    """Show how many poisoned and honest batches were held."""
    protocol, rows = report["protocol"], report["rows"]
    honest, bad = ([r for r in rows if r["poisoned"] is kind] for kind in (False, True))
    n, held = sum(r["n"] for r in honest), sum(r["held"] for r in honest)
    text = (
        f"Batches for a learner that knows {protocol['known_classes']} classes, on the backbone "
        f"{protocol['backbone']} at {protocol['image_size']} pixels. {held} of {n} honest batches were held. Images of "
        f"{protocol['data']} on which no threshold was chosen, of the classes they were chosen on; "
        f"{len(report['seeds'])} seeds; {report['machine']}."
    )
    call = f"python -m benchmarks.poisoning --data DIR --episodes {protocol['episodes']}"
    parts = [f"### {stem}", command(call, f"--out benchmarks/results/{stem}.json"), text]
    return Section([*parts, _table("honest batches", honest), _table("poisoned batches", bad)])


def _table(title: str, rows: list[JSON]) -> str:
    cells = [
        (
            row["kind"],
            f"{row['classes']} x {row['images_a_class']}",
            f"{row['held']} of {row['n']}",
            ", ".join(f"{code} {n}" for code, n in sorted(row["codes"].items())),
        )
        for row in rows
    ]
    return table((title, "classes x images", "held", "findings"), cells)

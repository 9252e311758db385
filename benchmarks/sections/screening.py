"""Section of `benchmarks.poisoning`: which batches were held before they were learned."""

from collections import Counter

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
    return Section(
        [*parts, batches_table("honest batches", honest), batches_table("poisoned batches", bad)]
    )


def batches_table(title: str, rows: list[JSON]) -> str:
    """Write a line a kind, a column a size, and what was found in all sizes together."""
    sizes = sorted({(row["classes"], row["images_a_class"]) for row in rows})
    cells: dict[str, dict[tuple[int, int], str]] = {}
    codes: dict[str, Counter[str]] = {}
    for row in rows:
        size = row["classes"], row["images_a_class"]
        cells.setdefault(row["kind"], {})[size] = f"{row['held']} of {row['n']}"
        codes.setdefault(row["kind"], Counter()).update(row["codes"])
    lines = [
        (
            kind,
            *(own.get(size, "") for size in sizes),
            ", ".join(f"{code} {n}" for code, n in sorted(codes[kind].items())),
        )
        for kind, own in cells.items()
    ]
    headings = (f"{classes} x {images}" for classes, images in sizes)
    return table((f"{title} held, by classes x images", *headings, "findings"), lines)

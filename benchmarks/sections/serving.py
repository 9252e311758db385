"""The section of `benchmarks.serving`: predictions a second, beside LitServe and without ONNX Runtime."""

import shlex
from collections.abc import Iterable

from benchmarks.sections.common import JSON, Section, command, table


def served(stem: str, report: JSON) -> Section:
    """Show one run, cell by cell."""
    rows: list[JSON] = report["rows"]
    servers = [name for name, seen in rows[0].items() if isinstance(seen, dict)]
    ratios = sorted({name for row in rows for name in row if " / " in name})
    text = (
        f"Images answered a second, one a request, and the p50 of an answer. Backbone {report['backbone']}; medians of "
        f"{report['rounds']} rounds of {report['seconds']:g} s, the ratios of rounds next to each other. By default "
        "every image is stored; LitServe stores nothing and asks for no key. "
        f"Requests that failed: {_failed(rows, servers)}. {report['machine']}."
    )
    of_backbone = (
        [f"--backbone {report['backbone']} --weights FILE"]
        if report["backbone"] != "bundled"
        else []
    )
    call = command(
        "python -m benchmarks.serving",
        *of_backbone,
        f"--servers {_words(servers)}",
        f"--images {_words(row['images'] for row in rows)}",
        f"--clients {_words(str(row['clients']) for row in rows)}",
        f"--rounds {report['rounds']} --seconds {report['seconds']:g}",
        f"--out benchmarks/results/{stem}.json",
    )
    lines = [
        (
            row["images"],
            str(row["clients"]),
            *(f"{row[name]['images_per_s']:g} ({row[name]['p50_ms']:.0f} ms)" for name in servers),
            *(f"{row[name]:.2f}" for name in ratios),
        )
        for row in rows
    ]
    return Section(
        [f"### {stem}", call, text, table(("images", "clients", *servers, *ratios), lines)]
    )


def _words(names: Iterable[str]) -> str:
    """Return what a shell takes as these names, each once."""
    return " ".join(shlex.quote(name) for name in dict.fromkeys(names))


def _failed(rows: list[JSON], servers: list[str]) -> str:
    counts = {name: sum(int(row[name]["n_failed"]) for row in rows) for name in servers}
    named = [f"{name} {count}" for name, count in counts.items() if count]
    return ", ".join(named) or "none"

"""The sections of `benchmarks.serving`, predictions a second beside LitServe, and of what they cost."""

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


COSTS = {
    "alone images_per_s": "alone, images a second",
    "alone loop_ms": "event loop ms",
    "alone service_ms": "service ms",
    "alone clients_ms": "clients ms",
    "not stored images_per_s": "not stored, images a second",
    "not stored loop_ms": "event loop ms",
    "not stored service_ms": "service ms",
    "together images_per_s": "together",
    "bare images_per_s": "bare",
    "together / bare": "together / bare",
}
PARTS = {
    "decode_ms": "decoding",
    "prepare_ms": "preparing",
    "pass_ms": "a pass, of 32",
    "write_ms": "writing a PNG",
}


def costs(stem: str, report: JSON) -> Section:
    """Show what a prediction costs, and what of that no service could save."""
    rows: list[JSON] = report["rows"]
    text = (
        "Processor time of a request with one image, by 32 clients (`alone`, by default stored); images a second of 4 "
        "clients that send 32 a request (`together`), and of one process that only decodes and passes them (`bare`). "
        f"Backbone {report['backbone']}; medians of {report['rounds']} rounds of {report['seconds']:g} s. "
        f"{report['machine']}."
    )
    call = command(
        "python -m benchmarks.prediction_cost",
        f"--images {_words(row['images'] for row in rows)}",
        f"--rounds {report['rounds']} --seconds {report['seconds']:g}",
        f"--out benchmarks/results/{stem}.json",
    )
    tables = [
        table(
            ("images", *names.values()),
            [(row["images"], *(f"{row[name]:.3g}" for name in names)) for row in rows],
        )
        for names in (COSTS, PARTS)
    ]
    parts = "Processor milliseconds of each part by itself, one image on one thread:"
    return Section([f"### {stem}", call, text, tables[0], parts, tables[1]])


def _words(names: Iterable[str]) -> str:
    """Return what a shell takes as these names, each once."""
    return " ".join(shlex.quote(name) for name in dict.fromkeys(names))


def _failed(rows: list[JSON], servers: list[str]) -> str:
    counts = {name: sum(int(row[name]["n_failed"]) for row in rows) for name in servers}
    named = [f"{name} {count}" for name, count in counts.items() if count]
    return ", ".join(named) or "none"

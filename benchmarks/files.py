"""Files that appear complete or not at all."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file in one step, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)


def write_rows(path: Path, head: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace a JSON file of results: what `head` says, then `rows`, each on a line of its own."""
    lines = [f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items()]
    written = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    write_bytes(path, f'{{\n{"".join(lines)} "rows": [\n{written}\n ]\n}}\n'.encode())

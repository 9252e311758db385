"""Where this worker learns, told without importing torch."""

import os
import subprocess

QUERY = ["nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader"]
TIMEOUT_S = 10.0


def device_name(setting: str) -> str:
    """Return the name of the GPU that learn processes will take, or `cpu`.

    Args:
        setting: `auto`, `cpu`, `cuda` or `cuda:<n>`, of those that `CUDA_VISIBLE_DEVICES` leaves.
    """
    if setting == "cpu":
        return "cpu"
    visible = _visible(_gpus())
    position = int(setting.partition(":")[2] or 0)
    if position < len(visible):
        return visible[position]
    return "cpu" if setting == "auto" else f"{setting} (not found)"


def _gpus() -> list[tuple[str, str, str]]:
    """Return index, UUID and name of every GPU that the driver shows; none without a driver."""
    try:
        answer = subprocess.run(
            QUERY, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",", 2)] for line in answer.stdout.splitlines()]
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]


def _visible(gpus: list[tuple[str, str, str]]) -> list[str]:
    """Return the names of the GPUs that CUDA would show, in its order."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [name for _, _, name in gpus]
    names = []
    for wanted in filter(None, (part.strip() for part in chosen.split(","))):
        matching = [
            name for index, uuid, name in gpus if wanted == index or uuid.startswith(wanted)
        ]
        if not matching:
            # CUDA stops at the first that does not exist.
            break
        names.append(matching[0])
    return names

"""What old versions were taught and asked, and whether they answer as they did then."""

from pathlib import Path

import torch

from models.strategies.values import Task

OLD = Path(__file__).parent
CLOSE = 5e-4
"""By how much answers may differ: the processor may be of another kind than the one they were made on, and what is
trained on it comes out with other last digits."""
ASKED = ("a", "b", "m", "e")


def pictures(label: str, n: int, *, first: int = 0) -> torch.Tensor:
    """Return pictures of a class, uint8 `(n, 3, 32, 32)`: a shade under noise, made of whole numbers alone."""
    places = torch.arange(3 * 32 * 32).reshape(1, 3, 32, 32)
    shifts = torch.arange(first, first + n).reshape(n, 1, 1, 1)
    kind = ord(label) - ord("a") + 1
    mixed = places * 7919 + shifts * 104729 + kind * 1299709
    noise = (mixed * mixed // 1009) % 131
    return (noise + kind * 5 % 13 * 4 + places // 1024 * (kind % 3) * 8).to(torch.uint8)


def task(index: int, *labels: str) -> Task:
    images = torch.cat([pictures(label, 12) for label in labels])
    names = tuple(label for label in labels for _ in range(12))
    held_out = torch.arange(len(names)) % 4 == 3
    return Task(
        index=index,
        images=images[~held_out],
        labels=tuple(name for name, out in zip(names, held_out, strict=True) if not out),
        held_out_images=images[held_out],
        held_out_labels=tuple(name for name, out in zip(names, held_out, strict=True) if out),
        seed=11,
    )


def answers(strategy) -> dict[str, list]:
    prediction = strategy.predict(torch.cat([pictures(label, 5, first=50) for label in ASKED]))
    return {
        "probabilities": prediction.probabilities.tolist(),
        "currents": prediction.currents.tolist(),
        "thresholds": prediction.thresholds.tolist(),
        "functional": prediction.functional.tolist(),
        "novelty": prediction.novelty.tolist(),
    }


def assert_as_then(strategy, then):
    now = answers(strategy)
    # An image at the very threshold may take another route on another processor.
    currents, thresholds = torch.tensor(then["currents"]), torch.tensor(then["thresholds"])
    sure = ((currents - thresholds).abs() > CLOSE).all(dim=1)
    assert sure.sum() > len(sure) / 2
    for name, values in then.items():
        found, known = torch.tensor(now[name]).float(), torch.tensor(values).float()
        if name != "thresholds":
            found, known = found[sure], known[sure]
        assert torch.allclose(found, known, atol=CLOSE), name

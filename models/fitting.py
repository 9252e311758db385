"""The one training loop: SGD with momentum and a cosine schedule, deterministic for a seed."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.dataset import Augmentation, training_batches
from models.errors import DivergedError
from models.progress import Progress, ProgressFn, ignore_progress

LossFn = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast to train."""

    epochs: int
    batch_size: int
    learning_rate: float
    """Peak of a cosine that falls to zero at the last step."""
    weight_decay: float = 5e-4
    momentum: float = 0.9
    augmentation: Augmentation = "none"


def fit(
    parameters: Iterable[nn.Parameter],
    images: Tensor,
    targets: Tensor,
    loss_fn: LossFn,
    schedule: Schedule,
    *,
    seed: int,
    device: torch.device,
    phase: str = "training",
    on_progress: ProgressFn = ignore_progress,
) -> float:
    """Minimise `loss_fn` over the images.

    Args:
        parameters: What may change. Everything else must already be frozen.
        images: uint8 `(N, 3, H, W)`, or float features `(N, D)`.
        targets: int64 `(N,)`.
        loss_fn: Maps a batch `(B, ...)` and its targets `(B,)` to a scalar.
        schedule: Epochs, batch size, rates.
        seed: Order, augmentation and dropout derive from it; torch's global generator is left as it was.
        device: Where batches are put.
        phase: Name that progress is reported under.
        on_progress: Called after every batch.

    Returns:
        Mean loss of the last epoch.

    Raises:
        DivergedError: If a loss is NaN or infinite.
    """
    trained = list(parameters)
    optimizer = torch.optim.SGD(
        trained,
        lr=schedule.learning_rate,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
    )
    steps_an_epoch = max(1, math.ceil(len(images) / schedule.batch_size))
    n_steps = schedule.epochs * steps_an_epoch
    generator = torch.Generator().manual_seed(seed)
    step, mean_loss = 0, 0.0
    with seeded(seed, device):
        for epoch in range(1, schedule.epochs + 1):
            total, n_seen = 0.0, 0
            for batch, batch_targets in training_batches(
                images,
                targets,
                batch_size=schedule.batch_size,
                augmentation=schedule.augmentation,
                generator=generator,
                device=device,
            ):
                rate = 0.5 * schedule.learning_rate * (1 + math.cos(math.pi * step / n_steps))
                for group in optimizer.param_groups:
                    group["lr"] = rate
                loss = loss_fn(batch, batch_targets)
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise DivergedError(
                        f"The loss became {value} in epoch {epoch}: lower the learning rate."
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                step += 1
                total += value * len(batch)
                n_seen += len(batch)
                mean_loss = total / n_seen
                fraction = min(1.0, step / n_steps)
                on_progress(Progress(phase, fraction, epoch, schedule.epochs, mean_loss))
    return mean_loss


@contextlib.contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's global generators inside the block, and restore them after it."""
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def derive_seed(*parts: int) -> int:
    """Mix integers into one seed of 63 bits, so that neighbouring tasks get unrelated streams."""
    mixed = 0
    for part in parts:
        mixed = (mixed * 6364136223846793005 + part + 1442695040888963407) % 2**63
    return mixed

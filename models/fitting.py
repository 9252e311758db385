"""The one training loop: SGD with momentum and a cosine schedule unless told otherwise, deterministic for a seed."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from models.dataset import Augmentation, training_batches
from models.errors import DivergedError
from models.progress import Progress, ProgressFn, ignore_progress

LossFn = Callable[[Tensor, Tensor], Tensor]
Precision = Literal["float32", "bfloat16"]
"""`bfloat16` trains 1.5 times faster where the processor computes in it (AVX-512 BF16, AMX, any recent GPU), slower
elsewhere. Features that are kept or answered from are always float32."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast to train."""

    epochs: int
    batch_size: int
    learning_rate: float
    """Peak of a cosine that falls to zero at the last step."""
    weight_decay: float = 5e-4
    momentum: float = 0.9
    """Of SGD; Adam has its own."""
    augmentation: Augmentation = "none"
    optimizer: Literal["sgd", "adam"] = "sgd"
    decay: Literal["cosine", "none"] = "cosine"
    """`none` keeps the learning rate at its peak."""
    precision: Precision = "float32"
    """Of the forward and backward pass. Parameters, gradients and optimiser stay float32."""

    def rate(self, step: int, n_steps: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if self.decay == "none":
            return self.learning_rate
        return 0.5 * self.learning_rate * (1 + math.cos(math.pi * step / n_steps))


class PlasticityRule(Protocol):
    """What a method does around the optimiser's step: Synaptic Intelligence, metaplasticity."""

    def before_step(self) -> None:
        """Act while the parameters hold the gradients of the task's loss and have not moved yet."""

    def after_step(self) -> None:
        """Act once the optimiser has moved the parameters."""


class Unruled:
    """The rule that changes nothing."""

    def before_step(self) -> None:
        """Leave the gradients as they are."""

    def after_step(self) -> None:
        """Take no notice."""


UNRULED = Unruled()


def fit(
    parameters: Iterable[nn.Parameter],
    images: Tensor,
    targets: Tensor,
    loss_fn: LossFn,
    schedule: Schedule,
    *,
    seed: int,
    device: torch.device,
    rule: PlasticityRule = UNRULED,
    phase: str = "training",
    on_progress: ProgressFn = ignore_progress,
) -> float:
    """Minimise `loss_fn` over the images.

    Args:
        parameters: What may change. Everything else must already be frozen.
        images: uint8 `(N, 3, H, W)`, or float features `(N, D)`.
        targets: int64 `(N,)`.
        loss_fn: Maps a batch `(B, ...)` and its targets `(B,)` to a scalar.
        schedule: Epochs, batch size, rates, optimiser. The optimiser starts afresh with every call.
        seed: Order, augmentation and dropout derive from it; torch's global generator is left as it was.
        device: Where batches are put.
        rule: Called around every step of the optimiser.
        phase: Name that progress is reported under.
        on_progress: Called after every batch.

    Returns:
        Mean loss of the last epoch.

    Raises:
        DivergedError: If a loss is NaN or infinite.
    """
    optimizer = _optimizer(list(parameters), schedule)
    steps_an_epoch = max(1, math.ceil(len(images) / schedule.batch_size))
    n_steps = schedule.epochs * steps_an_epoch
    reduced = schedule.precision == "bfloat16"
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
                for group in optimizer.param_groups:
                    group["lr"] = schedule.rate(step, n_steps)
                with torch.autocast(device.type, torch.bfloat16, enabled=reduced):
                    loss = loss_fn(batch, batch_targets)
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise DivergedError(
                        f"The loss became {value} in epoch {epoch}: lower the learning rate."
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                rule.before_step()
                optimizer.step()
                rule.after_step()
                step += 1
                total += value * len(batch)
                n_seen += len(batch)
                mean_loss = total / n_seen
                fraction = min(1.0, step / n_steps)
                on_progress(Progress(phase, fraction, epoch, schedule.epochs, mean_loss))
    return mean_loss


def _optimizer(parameters: list[nn.Parameter], schedule: Schedule) -> torch.optim.Optimizer:
    rate, decay = schedule.learning_rate, schedule.weight_decay
    if schedule.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=rate, momentum=schedule.momentum, weight_decay=decay)


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

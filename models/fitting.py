"""The one training loop: SGD with momentum and a cosine schedule unless told otherwise, deterministic for a seed."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from models.checkpoint import NO_CHECKPOINTS, Checkpoints, Snapshot
from models.dataset import Augmentation, training_batches
from models.errors import CheckpointError, DivergedError
from models.progress import Progress, ProgressFn, ignore_progress
from models.state import with_prefix

LossFn = Callable[[Tensor, Tensor], Tensor]
Precision = Literal["auto", "float32", "bfloat16"]
"""`auto` trains in bfloat16 on a GPU, in float32 elsewhere. `bfloat16` is 1.5 times faster also on a processor that
computes in it (AVX-512 BF16, AMX), slower on others. Features that are kept or answered from are always float32."""


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
    precision: Precision = "auto"
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

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all that steps change, on the CPU: what going on after an interruption needs."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: If it does not fit.
        """


class NoRule:
    """The rule that changes nothing."""

    def before_step(self) -> None:
        """Leave the gradients as they are."""

    def after_step(self) -> None:
        """Take no notice."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over nothing."""


NO_RULE = NoRule()


def fit(
    parameters: Iterable[nn.Parameter],
    images: Tensor,
    targets: Tensor,
    loss_fn: LossFn,
    schedule: Schedule,
    *,
    seed: int,
    device: torch.device,
    rule: PlasticityRule = NO_RULE,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
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
        checkpoints: Told about every step, and where to go on from. On a CPU the end is the same to the bit.
        phase: Name that progress is reported under.
        on_progress: Called after every batch.

    Returns:
        Mean loss of the last epoch.

    Raises:
        DivergedError: If a loss is NaN or infinite.
        StoppedError: If `checkpoints` says so.
        CheckpointError: If what an interrupted training left does not fit this one.
    """
    training = _Training(
        list(parameters), len(images), schedule, rule, seed=seed, device=device, phase=phase
    )
    earlier = checkpoints.begin(training.call)
    with seeded(seed, device):
        if earlier is not None:
            training.resume(earlier)
            on_progress(training.progress())
        while training.epoch <= schedule.epochs:
            for batch, batch_targets in training_batches(
                images,
                targets,
                order=training.order,
                batch_size=schedule.batch_size,
                augmentation=schedule.augmentation,
                generator=training.generator,
                device=device,
                n_done=training.n_batches,
            ):
                training.step(loss_fn, batch, batch_targets)
                checkpoints.after_step(training.snapshot)
                on_progress(training.progress())
            training.begin_epoch()
    checkpoints.end(training.result)
    return training.mean_loss


def is_reduced(precision: Precision, device: torch.device) -> bool:
    """Tell whether to train in bfloat16 on this device.

    Example:
        >>> is_reduced("auto", torch.device("cpu")), is_reduced("auto", torch.device("cuda"))
        (False, True)
    """
    return precision == "bfloat16" or (precision == "auto" and device.type == "cuda")


class _Training:
    """One call of `fit`: what its steps change, and how it is put down and taken up again."""

    def __init__(
        self,
        parameters: list[nn.Parameter],
        n_images: int,
        schedule: Schedule,
        rule: PlasticityRule,
        *,
        seed: int,
        device: torch.device,
        phase: str,
    ) -> None:
        self.call = {
            "phase": phase,
            "schedule": asdict(schedule),
            "seed": seed,
            "n_images": n_images,
            "shapes": [list(parameter.shape) for parameter in parameters],
            "device": device.type,
        }
        self.generator = torch.Generator().manual_seed(seed)
        """Of order and augmentation; dropout takes torch's global ones."""
        self.order = torch.randperm(n_images, generator=self.generator)
        """Of the images in this epoch."""
        self.epoch, self.n_steps, self.n_batches = 1, 0, 0
        """The epoch from 1, steps in all, and steps in this epoch."""
        self.total, self.n_seen, self.mean_loss = 0.0, 0, 0.0
        """Summed loss and number of the images seen in this epoch, and their mean or that of the last one."""
        self._parameters = parameters
        self._n_images = n_images
        self._schedule = schedule
        self._rule = rule
        self._device = device
        self._phase = phase
        self._optimizer = _optimizer(parameters, schedule)
        self._n_steps_in_all = schedule.epochs * max(1, math.ceil(n_images / schedule.batch_size))

    def step(self, loss_fn: LossFn, batch: Tensor, targets: Tensor) -> None:
        """Move the parameters once.

        Raises:
            DivergedError: If the loss is NaN or infinite.
        """
        rate = self._schedule.rate(self.n_steps, self._n_steps_in_all)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        reduced = is_reduced(self._schedule.precision, self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=reduced):
            loss = loss_fn(batch, targets)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"The loss became {value} in epoch {self.epoch}: lower the learning rate."
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._rule.before_step()
        self._optimizer.step()
        self._rule.after_step()
        self.n_steps += 1
        self.n_batches += 1
        self.total += value * len(batch)
        self.n_seen += len(batch)
        self.mean_loss = self.total / self.n_seen

    def begin_epoch(self) -> None:
        """Shuffle the images for the next epoch."""
        self.epoch += 1
        self.n_batches, self.total, self.n_seen = 0, 0.0, 0
        if self.epoch <= self._schedule.epochs:
            self.order = torch.randperm(self._n_images, generator=self.generator)

    def progress(self) -> Progress:
        """Return how far it is."""
        fraction = min(1.0, self.n_steps / self._n_steps_in_all)
        epoch = min(self.epoch, self._schedule.epochs)
        return Progress(self._phase, fraction, epoch, self._schedule.epochs, self.mean_loss)

    def snapshot(self) -> Snapshot:
        """Return everything that going on from here needs. The tensors are those that go on changing."""
        tensors: dict[str, Tensor] = {}
        for i, parameter in enumerate(self._parameters):
            tensors[f"parameter.{i}"] = parameter
        for i, state in self._optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if value is not None:
                    tensors[f"optimizer.{i}.{name}"] = value
        tensors |= {f"rule.{name}": value for name, value in self._rule.state_dict().items()}
        tensors["order"] = self.order
        tensors["random.data"] = self.generator.get_state()
        tensors["random.cpu"] = torch.get_rng_state()
        if self._device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self._device)
        return Snapshot(self.call, self._counters(), tensors)

    def result(self) -> Snapshot:
        """Return copies of what has come out: enough for an ended section."""
        tensors = {
            f"parameter.{i}": p.detach().cpu().clone() for i, p in enumerate(self._parameters)
        }
        tensors |= {f"rule.{name}": value for name, value in self._rule.state_dict().items()}
        return Snapshot(self.call, self._counters(), tensors)

    def resume(self, snapshot: Snapshot) -> None:
        """Take over what `snapshot` or `result` returned. Torch's global generators are set too.

        Raises:
            CheckpointError: If it does not fit.
        """
        try:
            counters = snapshot.counters
            self.epoch, self.n_steps = counters["epoch"], counters["n_steps"]
            self.n_batches, self.n_seen = counters["n_batches"], counters["n_seen"]
            self.total, self.mean_loss = counters["total"], counters["mean_loss"]
            with torch.no_grad():
                for i, parameter in enumerate(self._parameters):
                    parameter.copy_(snapshot.tensors[f"parameter.{i}"])
            self._rule.load_state_dict(with_prefix(snapshot.tensors, "rule."))
            if self.epoch <= self._schedule.epochs:
                self._resume_epoch(snapshot.tensors)
        except (LookupError, RuntimeError, ValueError, TypeError) as error:
            raise CheckpointError("The checkpoint does not fit the training.") from error

    def _resume_epoch(self, tensors: Mapping[str, Tensor]) -> None:
        self.order = tensors["order"]
        if not torch.equal(self.order.sort().values, torch.arange(self._n_images)):
            raise CheckpointError("The order of the images in the checkpoint is not one.")
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in with_prefix(tensors, "optimizer.").items():
            i, name = key.split(".", 1)
            if value.shape not in ((), self._parameters[int(i)].shape):
                raise CheckpointError(f"The optimiser's {name} in the checkpoint does not fit.")
            state.setdefault(int(i), {})[name] = value.clone()
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.generator.set_state(tensors["random.data"])
        torch.set_rng_state(tensors["random.cpu"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self._device)

    def _counters(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "n_steps": self.n_steps,
            "n_batches": self.n_batches,
            "n_seen": self.n_seen,
            "total": self.total,
            "mean_loss": self.mean_loss,
        }


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

"""Neuromimetic metaplasticity: each weight has a flexibility of its own, drawn once, that decides how fast it stiffens.

    once:             f ~ U(0, 1) for every weight; w_init is kept
    start of a task:  alpha = 1 - tanh(s * ((f - 1) / f) * (w - w_init))^2      in (0, 1]
    every step:       w <- w - rate * alpha * g                                 plain SGD

So it is no fixed learning rate a weight: a rigid one (f near 0) learns until it has moved away from its initial value,
and keeps that; a flexible one (f near 1) goes on learning. Biases are left out.

Reference:
    Cho, Lee, Baek and Paik, 2025, https://arxiv.org/abs/2407.07133, with the rule as in the authors' published code.
    Differs from the paper: s, which scales displacements to O(1), is measured instead of set (see `calibrate`), and
    weights may be added later (a head that grows).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.checkpoint import copy_parts, fill_parts
from models.errors import CheckpointError
from models.state import StateReader, fill_first_rows


class MetaplasticityRule:
    """Flexibility, initial value and present plasticity of every weight.

    A `PlasticityRule` for plain SGD: no momentum, no weight decay. Call `start_task` before each task, and `calibrate`
    after it until the scale is known.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(3))
        >>> flexibility = torch.tensor([0.01, 0.5, 1.0])
        >>> rule = MetaplasticityRule({"weight": weight}, flexibility={"weight": flexibility}, scale=1.0)
        >>> weight.data += 1.0  # what the first task did
        >>> rule.start_task()
        >>> rule.plasticity["weight"]
        tensor([0.0000, 0.4200, 1.0000])
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        flexibility: Mapping[str, Tensor] | None = None,
        initial: Mapping[str, Tensor] | None = None,
        scale: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """Take over what earlier tasks left; what is missing starts now.

        Args:
            weights: By name; without biases. They are watched, not copied.
            flexibility: What was drawn before, in `[0, 1]`. A weight may have grown rows since (a head, for new
                classes): theirs are drawn from `generator`.
            initial: Initial values. Missing rows take the present ones.
            scale: s; None until it is calibrated. Nothing stiffens before.
            generator: On the CPU.

        Raises:
            CheckpointError: If a stored tensor has another shape than its weight.
        """
        self.scale = scale
        self._weights = dict(weights)
        drawn = {
            name: torch.rand(weight.shape, generator=generator).to(weight.device)
            for name, weight in self._weights.items()
        }
        present = {name: weight.detach().clone() for name, weight in self._weights.items()}
        fill_first_rows(drawn, flexibility or {})
        fill_first_rows(present, initial or {})
        self.flexibility, self.initial = drawn, present
        self.plasticity = {name: torch.ones_like(value) for name, value in drawn.items()}
        """alpha: the share of its step that each weight takes in this task."""

    @torch.no_grad()
    def start_task(self) -> None:
        """Fix the plasticity of every weight for the coming task, by how far it has moved until now."""
        for name, weight in self._weights.items():
            if self.scale is not None:
                displacement = weight - self.initial[name]
                self.plasticity[name] = plasticity(self.flexibility[name], displacement, self.scale)

    @torch.no_grad()
    def before_step(self) -> None:
        """Scale the gradients."""
        for name, weight in self._weights.items():
            if weight.grad is not None:
                weight.grad.mul_(self.plasticity[name])

    def after_step(self) -> None:
        """Take no notice: plasticity stays what it is within a task."""

    @torch.no_grad()
    def calibrate(self, relative: float) -> None:
        """Set the scale to `relative` over the median distance that weights have moved, unless it is set already.

        The paper sets s = 4e5 for its rate, batch size and epochs; its displacements then come out as O(1). Measured
        after the first task, s fits any schedule. Weights that nothing has moved (those of silent units) are not
        counted; if nothing has moved at all, the scale stays open.
        """
        if self.scale is not None:
            return
        moved = torch.cat(
            [
                (weight - self.initial[name]).abs().flatten()
                for name, weight in self._weights.items()
            ]
        )
        moved = moved[moved > 0]
        if len(moved):
            self.scale = relative / float(moved.median())

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Return everything needed to go on, in the middle of a task too, but for the weights."""
        state = copy_parts(self._parts(), prefix)
        scale = [] if self.scale is None else [self.scale]
        return {**state, f"{prefix}scale": torch.tensor(scale, dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor], prefix: str = "") -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: If a tensor is missing or has another shape.
        """
        fill_parts(self._parts(), state, prefix)
        self.scale = read_scale(StateReader(state, prefix, what="a training"))

    def _parts(self) -> dict[str, dict[str, Tensor]]:
        return {
            "flexibility": self.flexibility,
            "initial": self.initial,
            "plasticity": self.plasticity,
        }


def plasticity(flexibility: Tensor, displacement: Tensor, scale: float) -> Tensor:
    """Return the share of its step that a weight takes, in `[0, 1]`.

    A flexibility of exactly 0 gives 0, displaced or not.

    Args:
        flexibility: In `[0, 1]`, any shape.
        displacement: Present minus initial value, same shape.
        scale: s.
    """
    stiffness = (flexibility - 1) / flexibility
    alpha = 1 - torch.tanh(stiffness * displacement * scale).square()
    return alpha.masked_fill(flexibility == 0, 0.0)


def read_scale(reader: StateReader) -> float | None:
    """Return a stored scale; None where it was still open.

    Raises:
        CheckpointError: If it is missing or more than one number.
    """
    scale = reader.tensor("scale", (None,), torch.float64)
    if len(scale) > 1:
        raise CheckpointError("There is more than one scale.")
    return float(scale) if len(scale) else None

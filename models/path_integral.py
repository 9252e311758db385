"""Synaptic Intelligence: how much each synapse has lowered the loss so far, and a spring that holds it accordingly.

    every step:   path <- path - g * delta
    end of task:  importance <- max(0, importance + path / ((now - reference)^2 + damping))
                  reference <- now, path <- 0
    loss:         L_task + strength * sum of importance * (now - reference)^2

with g the gradient of the task's loss alone and delta the optimiser's actual move; the penalty has no factor 1/2. In
the paper's letters path is omega, importance Omega, damping xi and strength c.

Reference:
    Zenke, Poole and Ganguli, 2017, https://arxiv.org/abs/1703.04200, and the authors' published code for what the paper
    leaves open (the maximum with 0, references at the start). Differs from the paper: no.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.checkpoint import copy_parts, fill_parts
from models.state import fill_first_rows


class PathIntegral:
    """The path integral, importance and reference of every parameter, and the penalty they make.

    A `PlasticityRule`: backpropagate the loss of the task *alone*, call `before_step`, let the optimiser move, call
    `after_step`. `before_step` notes the gradient and then adds the penalty's to it, in closed form: so the optimiser
    sees the whole loss and the path integral only the task's. Accumulators are float32 at least.

    Example:
        >>> weight = nn.Parameter(torch.zeros(1))
        >>> rule = PathIntegral({"weight": weight}, damping=0.5, strength=1.0)
        >>> weight.grad = torch.tensor([-2.0])  # of a task's loss
        >>> rule.before_step()
        >>> weight.data += 1.0  # what some optimiser does
        >>> rule.after_step()
        >>> rule.consolidate()  # 2 * 1 / (1 * 1 + 0.5)
        >>> rule.importance["weight"]
        tensor([1.3333])
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        damping: float,
        strength: float,
        importance: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Take the parameters' present values as references.

        Args:
            parameters: By name. They are watched, not copied: the optimiser keeps moving them.
            damping: xi, keeps the importance of a parameter that hardly moved finite.
            strength: c, weight of the penalty; 0 only measures.
            importance: What earlier tasks gave, by name. A parameter may have grown rows since (a head, for new
                classes): they start without importance, their initial values as reference. None is the first task.

        Raises:
            CheckpointError: If an importance has another shape than its parameter.
        """
        self.damping = damping
        self.strength = strength
        self._parameters = dict(parameters)
        self.path = {name: _accumulator(p) for name, p in self._parameters.items()}
        self.importance = {name: _accumulator(p) for name, p in self._parameters.items()}
        self.references = {name: _copied(p) for name, p in self._parameters.items()}
        self._gradients = {name: _accumulator(p) for name, p in self._parameters.items()}
        self._before = {name: _accumulator(p) for name, p in self._parameters.items()}
        fill_first_rows(self.importance, importance or {})
        self._holds = self._has_importance()

    @torch.no_grad()
    def before_step(self) -> None:
        """Note the gradients of the task's loss and the parameters, then add the penalty's gradients.

        A parameter that the loss did not touch counts as one with gradient 0.
        """
        for name, parameter in self._parameters.items():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            self._gradients[name].copy_(parameter.grad)
            before = self._before[name]
            if self._holds:
                torch.sub(parameter, self.references[name], out=before)
                pull = before.mul_(self.importance[name]).mul_(2 * self.strength)
                parameter.grad.add_(pull)
            before.copy_(parameter)

    @torch.no_grad()
    def after_step(self) -> None:
        """Add to the path integral what the optimiser's move did to the task's loss, to first order."""
        for name, parameter in self._parameters.items():
            moved_back = self._before[name].sub_(parameter)
            self.path[name].addcmul_(self._gradients[name], moved_back)

    @torch.no_grad()
    def consolidate(self) -> None:
        """Close the task: turn the path integral into importance, and start the next one from here."""
        for name, parameter in self._parameters.items():
            moved = (parameter - self.references[name]).square_()
            gained = self.path[name].div_(moved.add_(self.damping))
            self.importance[name].add_(gained).clamp_(min=0)
            self.references[name].copy_(parameter)
            self.path[name].zero_()
        self._holds = self._has_importance()

    def penalty(self) -> Tensor:
        """Return what the parameters' distance from their references costs, a scalar, strength included."""
        costs = [
            (self.importance[name] * (parameter - self.references[name]).square()).sum()
            for name, parameter in self._parameters.items()
        ]
        return self.strength * torch.stack(costs).sum()

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Return everything needed to go on in the middle of a task, but for parameters and optimiser."""
        return copy_parts(self._parts(), prefix)

    def load_state_dict(self, state: Mapping[str, Tensor], prefix: str = "") -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: If a tensor is missing or has another shape.
        """
        fill_parts(self._parts(), state, prefix)
        self._holds = self._has_importance()

    def _parts(self) -> dict[str, dict[str, Tensor]]:
        return {"path": self.path, "importance": self.importance, "references": self.references}

    def _has_importance(self) -> bool:
        """Tell whether there is anything to hold; without, a step costs half as much."""
        return self.strength > 0 and any(bool(value.any()) for value in self.importance.values())


def _dtype(parameter: Tensor) -> torch.dtype:
    return torch.promote_types(parameter.dtype, torch.float32)


def _accumulator(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter, dtype=_dtype(parameter), requires_grad=False)


def _copied(parameter: Tensor) -> Tensor:
    return parameter.detach().to(_dtype(parameter), copy=True)

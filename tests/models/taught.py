"""How tests teach a strategy: each task learned and, where the strategy leaves training for later, consolidated."""

from typing import TypeVar

from models.checkpoint import NO_CHECKPOINTS, Checkpoints
from models.strategies.base import Strategy
from models.strategies.values import Task

StrategyT = TypeVar("StrategyT", bound=Strategy)


def teach(
    strategy: StrategyT, *tasks: Task, checkpoints: Checkpoints = NO_CHECKPOINTS
) -> StrategyT:
    """Let a strategy learn tasks, and consolidate each before the next comes. Returns the strategy."""
    for task in tasks:
        strategy.learn(task)
        consolidate(strategy, task, checkpoints=checkpoints)
    return strategy


def consolidate(
    strategy: Strategy, *tasks: Task, checkpoints: Checkpoints = NO_CHECKPOINTS
) -> None:
    """Consolidate those of the tasks that wait for it, if any."""
    waiting = [task for task in tasks if task.index in strategy.unconsolidated_]
    if waiting:
        strategy.consolidate(waiting, seed=waiting[0].seed, checkpoints=checkpoints)

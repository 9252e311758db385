"""How one task's sub-network is trained: the part that strategies with adapters share."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from models.adapter import Adapter
from models.backbone import Backbone
from models.fitting import Schedule, derive_seed, fit, seeded
from models.head import CosineHead, cosine_scores
from models.progress import ProgressFn, ignore_progress
from models.strategies.values import Task
from models.views import Views


def train_subnetwork(
    backbone: Backbone,
    task: Task,
    targets: Tensor,
    *,
    bottleneck: int,
    schedule: Schedule,
    start: Adapter | None = None,
    first: int = 0,
    n_views: int = 0,
    others: Tensor | None = None,
    patch_share: float = 1.0,
    on_progress: ProgressFn = ignore_progress,
) -> tuple[Adapter, float | None]:
    """Train a sub-network with a throw-away cosine head over the task's classes.

    Args:
        backbone: Stays as it is.
        task: Images and seed.
        targets: Class index of each image, int64 `(N,)`.
        bottleneck: Width of the adapter in each block.
        schedule: Epochs, batch size, rates.
        start: What it begins from, left as it is. A fresh adapter, drawn from the task's seed, unless given.
        first: Index of the first block that is trained. Those below stay as they are in `start`, or have no bottleneck.
        n_views: Augmented views of each image that are drawn once and kept as what the blocks below make of them
            (`models.views`); with 0 each is drawn when it is shown, and passes through all blocks.
        others: Mean features `(O, D)` of further classes to tell the task's from. They stay as they are.
        patch_share: Share of the patches of a kept view that a step shows, others each time.
        on_progress: Told about `training`.

    Returns:
        The adapter, frozen, and the last epoch's mean loss. One class and no others leave nothing to tell apart: the
        adapter is the one it began from, and the loss is None.
    """
    with seeded(derive_seed(task.seed, task.index, 1)):
        adapter = Adapter(
            width=backbone.feature_width, depth=backbone.depth, bottleneck=bottleneck, first=first
        ).to(backbone.device)
    if start is not None:
        adapter = start.grown(adapter)
    classes, local_targets = targets.unique(return_inverse=True)
    if len(classes) < 2 and others is None:
        return adapter.freeze(), None
    seed = derive_seed(task.seed, task.index, 2)
    with seeded(seed):
        head = CosineHead(backbone.feature_width, len(classes)).to(backbone.device)
    trained = adapter.freeze().thaw(first)

    images = task.images
    features_of: Callable[[Tensor], Tensor] = partial(backbone, adapter=adapter)
    if n_views > 0:
        views = Views(
            backbone,
            images,
            adapter,
            block=first,
            n_views=n_views,
            augmentation=schedule.augmentation,
            precision=schedule.precision,
            seed=derive_seed(task.seed, task.index, 5),
            patch_share=patch_share,
        )
        views.keep(task.checkpoints)
        images, features_of = torch.arange(len(images)), views.features
        schedule = replace(schedule, augmentation="none")

    def loss_fn(batch: Tensor, batch_targets: Tensor) -> Tensor:
        features = features_of(batch)
        logits = head(features)
        if others is not None:
            beside = cosine_scores(features, others.to(features))
            logits = torch.cat([logits, head.scale * beside], dim=1)
        return F.cross_entropy(logits, batch_targets)

    loss = fit(
        [*trained, *head.parameters()],
        images,
        local_targets,
        loss_fn,
        schedule,
        seed=seed,
        device=backbone.device,
        checkpoints=task.checkpoints,
        on_progress=on_progress,
    )
    return adapter.freeze(), loss

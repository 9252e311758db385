"""How one task's sub-network is trained: the part that strategies with adapters share."""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.adapter import Adapter
from models.backbone import Backbone
from models.fitting import Schedule, derive_seed, fit, seeded
from models.head import CosineHead, cosine_scores
from models.progress import ProgressFn, ignore_progress
from models.strategies.values import Task


def train_subnetwork(
    backbone: Backbone,
    task: Task,
    targets: Tensor,
    *,
    bottleneck: int,
    schedule: Schedule,
    start: Adapter | None = None,
    others: Tensor | None = None,
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
        others: Mean features `(O, D)` of further classes to tell the task's from. They stay as they are.
        on_progress: Told about `training`.

    Returns:
        The adapter, frozen, and the last epoch's mean loss. One class and no others leave nothing to tell apart: the
        adapter is the one it began from, and the loss is None.
    """
    if start is not None:
        adapter = start.clone().requires_grad_(True)
    else:
        with seeded(derive_seed(task.seed, task.index, 1)):
            adapter = Adapter(
                width=backbone.feature_width, depth=backbone.depth, bottleneck=bottleneck
            ).to(backbone.device)
    classes, local_targets = targets.unique(return_inverse=True)
    if len(classes) < 2 and others is None:
        return adapter.freeze(), None
    seed = derive_seed(task.seed, task.index, 2)
    with seeded(seed):
        head = CosineHead(backbone.feature_width, len(classes)).to(backbone.device)

    def loss_fn(images: Tensor, image_targets: Tensor) -> Tensor:
        features = backbone(images, adapter)
        logits = head(features)
        if others is not None:
            beside = cosine_scores(features, others.to(features))
            logits = torch.cat([logits, head.scale * beside], dim=1)
        return F.cross_entropy(logits, image_targets)

    loss = fit(
        [*adapter.train().parameters(), *head.parameters()],
        task.images,
        local_targets,
        loss_fn,
        schedule,
        seed=seed,
        device=backbone.device,
        checkpoints=task.checkpoints,
        on_progress=on_progress,
    )
    return adapter.freeze(), loss

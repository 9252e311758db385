"""The network of the paper's artificial synapse: a small gate that tells its task's data from everything before.

Reference:
    Ran et al., 2024, https://arxiv.org/abs/2410.05899, Eq. 3 and 4. Differs: former tasks' data are drawn from
    Gaussians around their stored prototypes, so that no old image is needed.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.checkpoint import NO_CHECKPOINTS, Checkpoints
from models.fitting import Schedule, fit


class SynapseNetwork(nn.Module):
    """Two fully connected layers and a sigmoid: features in, current out. Shapes: B images, D feature width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logit of the current, `(B,)`, for features `(B, D)`."""
        logits: Tensor = self.out(torch.relu(self.hidden(features))).squeeze(-1)
        return logits

    @torch.inference_mode()
    def current(self, features: Tensor) -> Tensor:
        """Return the current `(B,)`, in `[0, 1]`: functional where it reaches the threshold."""
        return torch.sigmoid(self(features))

    def learn(
        self,
        own: Tensor,
        others: Tensor,
        schedule: Schedule,
        *,
        seed: int,
        checkpoints: Checkpoints = NO_CHECKPOINTS,
    ) -> float:
        """Train to answer 1 on `own` `(N, D)` and 0 on `others` `(M, D)`, each side weighing the same.

        Returns:
            Mean loss of the last epoch.
        """
        features = torch.cat([own, others])
        targets = torch.cat([torch.ones(len(own)), torch.zeros(len(others))]).to(torch.int64)
        positive_weight = torch.tensor(len(others) / len(own), device=features.device)

        def loss_fn(batch: Tensor, batch_targets: Tensor) -> Tensor:
            return F.binary_cross_entropy_with_logits(
                self(batch), batch_targets.float(), pos_weight=positive_weight
            )

        self.requires_grad_(True)
        loss = fit(
            self.parameters(),
            features,
            targets,
            loss_fn,
            schedule,
            seed=seed,
            device=features.device,
            checkpoints=checkpoints,
        )
        self.requires_grad_(False)
        return loss

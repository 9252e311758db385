"""Augmented views of images, drawn once and kept as tokens: what a frozen network makes of them is computed once.

Training a sub-network moves the last blocks alone. What the blocks below make of a view never changes while it goes on,
so every view after the first epochs costs the last blocks and no more.
"""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from models.adapter import Adapter
from models.backbone import Backbone
from models.checkpoint import Checkpoints, Snapshot
from models.dataset import Augmentation, cut, draw_crops
from models.errors import CheckpointError
from models.fitting import Precision, is_reduced
from models.passes import Midway

MOST_BYTES = 256 << 20
"""Of all that is kept for one training."""
AT_ONCE = 64
"""Views a pass."""
_CPU_FLAGS = Path("/proc/cpuinfo")


class Views:
    """Some views of each of N images at the bottleneck of one block: that many times `(N, T, D)`, twice.

    Where the memory does not suffice for a single view, each is drawn and computed when it is asked for. Shapes: N
    images, T tokens, D width of the backbone.
    """

    def __init__(
        self,
        backbone: Backbone,
        images: Tensor,
        adapter: Adapter,
        *,
        block: int,
        n_views: int,
        augmentation: Augmentation,
        precision: Precision,
        seed: int,
        patch_share: float = 1.0,
    ) -> None:
        """Draw the views. `keep` computes them.

        Args:
            backbone: Stays as it is.
            images: uint8 `(N, 3, S, S)`, on the CPU.
            adapter: Its bottlenecks below `block` must not change.
            block: Index of the first block that is trained.
            n_views: Views an image, if the memory suffices: at least one. Without augmentation one says all.
            augmentation: How a view differs from its image.
            precision: Of training.
            seed: Decides all views that are kept.
            patch_share: Share of the patches that a view shows when it is asked for, others each time.
        """
        vit = backbone.vit
        n_tokens = vit.patch_embed.num_patches + vit.num_prefix_tokens
        bytes_a_view = 2 * n_tokens * vit.embed_dim * torch.float16.itemsize
        wanted = 1 if augmentation == "none" else n_views
        self.n_views = min(wanted, MOST_BYTES // (max(1, len(images)) * bytes_a_view))
        """Views an image that are kept; 0 where none is."""
        self._backbone = backbone
        self._images = images
        self._adapter = adapter
        self._block = block
        self._augmentation = augmentation
        n_patches = vit.patch_embed.num_patches
        self._n_shown = n_patches if patch_share == 1 else max(1, round(patch_share * n_patches))
        self._is_reduced = is_reduced(precision, backbone.device) or (
            precision == "auto" and computes_in_bfloat16()
        )
        generator = torch.Generator().manual_seed(seed)
        self._crops = draw_crops(self.n_views * len(images), augmentation, generator)
        shape = (len(self._crops), n_tokens, vit.embed_dim)
        self._inputs = torch.empty(shape, dtype=torch.float16, device=backbone.device)
        self._sums = torch.empty_like(self._inputs)
        self._call = {
            "phase": "views",
            "n_images": len(images),
            "n_views": self.n_views,
            "block": block,
            "augmentation": augmentation,
            "seed": seed,
        }

    def keep(self, checkpoints: Checkpoints) -> None:
        """Compute all views that are kept: a section of its own, which an interrupted attempt computes again.

        Raises:
            StoppedError: If `checkpoints` says so.
            CheckpointError: If an interrupted attempt drew other views, or left what does not fit.
        """
        if self.n_views == 0:
            return
        earlier = checkpoints.begin(self._call)
        n_before = 0 if earlier is None else earlier.counters.get("n_views")
        if type(n_before) is not int:
            raise CheckpointError("What the checkpoint says of views does not fit.")
        for part in torch.arange(len(self._crops)).split(AT_ONCE):
            midway = self._pass(part % len(self._images), self._crops[part])
            done = slice(int(part[0]), int(part[-1]) + 1)
            self._inputs[done] = _storable(midway.inputs)
            self._sums[done] = _storable(midway.sums)
            if done.stop > n_before:
                checkpoints.after_step(partial(self._snapshot, done.stop))
        checkpoints.end(partial(self._snapshot, len(self._crops)))

    def features(self, rows: Tensor) -> Tensor:
        """Return features of a view of each of the images of these rows, int64 `(B,)`, with the adapter as it is now.

        Torch's global generator chooses the views. Returns `(B, D)`.
        """
        midway = self._thinned(self._midway(rows.cpu()))
        return self._backbone.finish_features(midway, self._adapter)

    def _midway(self, rows: Tensor) -> Midway:
        if self.n_views == 0:
            return self._pass(rows, draw_crops(len(rows), self._augmentation, None))
        chosen = torch.randint(self.n_views, (len(rows),)) * len(self._images) + rows
        chosen = chosen.to(self._inputs.device)
        return Midway(self._block, self._inputs[chosen].float(), self._sums[chosen].float())

    def _thinned(self, midway: Midway) -> Midway:
        """Leave out the patches that are not shown, of each image others; the tokens before them stay."""
        vit = self._backbone.vit
        if self._n_shown == vit.patch_embed.num_patches:
            return midway
        B, T, D = midway.inputs.shape
        n_before = vit.num_prefix_tokens
        drawn = torch.rand(B, T - n_before).argsort(dim=1)[:, : self._n_shown] + n_before
        stays = torch.cat([torch.arange(n_before).expand(B, -1), drawn], dim=1)
        places = stays.to(midway.inputs.device)[:, :, None].expand(-1, -1, D)
        return Midway(midway.block, midway.inputs.gather(1, places), midway.sums.gather(1, places))

    def _snapshot(self, n_views: int) -> Snapshot:
        """Return how many are computed. They are not in it: computing them again takes less than keeping them."""
        return Snapshot(self._call, {"n_views": n_views}, {})

    @torch.no_grad()
    def _pass(self, rows: Tensor, crops: Tensor) -> Midway:
        backbone = self._backbone
        pixels = (self._images[rows] / 255).to(backbone.device)
        views = pixels if self._augmentation == "none" else cut(pixels, crops)
        with torch.autocast(backbone.device.type, torch.bfloat16, enabled=self._is_reduced):
            midway = backbone.begin(views, self._adapter, self._block)
        return Midway(self._block, midway.inputs.float(), midway.sums.float())


def computes_in_bfloat16() -> bool:
    """Tell whether this machine's processor multiplies in bfloat16, as Linux lists it: there it is the faster way."""
    try:
        lines = _CPU_FLAGS.read_text().splitlines()
    except OSError:
        return False
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _storable(tokens: Tensor) -> Tensor:
    """Return tokens in half the memory; what is beyond its range, which no trained backbone shows, ends there."""
    largest = torch.finfo(torch.float16).max
    return tokens.clamp(-largest, largest).half()

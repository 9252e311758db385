"""Train the small bundled backbone by distilling a larger ViT on Tiny ImageNet, on a CPU.

The teacher runs once over a fixed pool of views (the image and one crop of it); what it says is kept on disk and
the student learns from there: class token, patch tokens at two depths, teacher logits and labels. Everything the
student sees in a step follows from the seed and the step number, so an interrupted run continues from its last
checkpoint. One file on purpose: the recipe of the shipped weights reads from top to bottom.

    python -m benchmarks.pretrain --data DIR --teacher FILE --out models/weights --minutes 65
    python -m benchmarks.pretrain --evaluate --out models/weights --teacher FILE --cifar DIR

Shapes: B images, N tokens, D width, V views, K classes, C H W image.
"""

import argparse
import hashlib
import io
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save
from sklearn.datasets import load_digits
from timm.layers.config import set_fused_attn
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional
from torchvision.datasets import CIFAR100  # type: ignore[import-untyped]

ARCHITECTURE: dict[str, Any] = {
    "img_size": 64,
    "patch_size": 8,
    "embed_dim": 192,
    "depth": 8,
    "num_heads": 3,
    "num_classes": 0,
    "class_token": True,
    "global_pool": "token",
}
SIZE = 64  # pixels of the student's input, and of Tiny ImageNet
GRID = 8  # student patches on a side; teacher tokens are pooled to this grid
WIDTH = 192  # of student and teacher
TEACHER = "vit_tiny_patch16_224"
TEACHER_MIDDLE = 5  # block 6 of 12 guides the student's middle block
CROP_AREA = (0.3, 0.9)  # of the second view; chosen, untested
EMA_DECAY = 0.998  # of the exported average of the weights; chosen, untested


def log(message: str) -> None:
    """Write one line with the time of day to standard output."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {message}\n")
    sys.stdout.flush()


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file in one step, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Replace a safetensors file in one step."""
    write_bytes(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


# Images and what the teacher says about them


def iterate_images(data: Path) -> Iterator[tuple[Image.Image, int]]:
    """Yield Tiny ImageNet's train images with their targets, in a fixed order.

    Args:
        data: Either a folder with `train*.npz` files (arrays `jpeg`, `offset`, `label`: image i is the
            JPEG file `jpeg[offset[i]:offset[i + 1]]`), or the published `train` folder (`<class>/**/*.JPEG`).
    """
    archives = sorted(data.glob("train*.npz"))
    for archive in archives:
        with np.load(archive) as arrays:
            jpeg, offset, label = arrays["jpeg"], arrays["offset"], arrays["label"]
        for i, target in enumerate(label):
            file = io.BytesIO(jpeg[offset[i] : offset[i + 1]].tobytes())
            yield Image.open(file).convert("RGB"), int(target)
    if not archives:
        for target, folder in enumerate(sorted(path for path in data.iterdir() if path.is_dir())):
            for path in sorted(folder.rglob("*.JPEG")):
                yield Image.open(path).convert("RGB"), target


def crop_randomly(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Cut out a random box of `CROP_AREA` of the image and resize it to the full size."""
    area, ratio = rng.uniform(*CROP_AREA), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    width, height = (
        min(1.0, math.sqrt(area * ratio)) * SIZE,
        min(1.0, math.sqrt(area / ratio)) * SIZE,
    )
    left, top = rng.uniform(0, SIZE - width), rng.uniform(0, SIZE - height)
    box = (left, top, left + width, top + height)
    return image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)


def prepare_images(data: Path, work_dir: Path, *, seed: int) -> None:
    """Decode all images and one crop of each into `images.npy`, `(V * N, 3, 64, 64)` uint8, and `labels.npy`."""
    if (work_dir / "labels.npy").exists():
        return
    rng = np.random.default_rng(seed)
    views: tuple[list[npt.NDArray[np.uint8]], ...] = ([], [])
    targets = []
    for image, target in iterate_images(data):
        views[0].append(np.asarray(image))
        views[1].append(np.asarray(crop_randomly(image, rng)))
        targets.append(target)
    images = np.stack(views[0] + views[1]).transpose(0, 3, 1, 2)
    np.save(work_dir / "images.npy", np.ascontiguousarray(images))
    np.save(work_dir / "labels.npy", np.asarray(targets * 2, dtype=np.int64))
    log(f"decoded {len(targets)} images, {len(images)} views")


def load_teacher(path: Path, size: int) -> VisionTransformer:
    """Build the teacher ViT-Tiny/16 for square images of `size` pixels, in evaluation mode."""
    state = {name: tensor.float() for name, tensor in load_file(path).items()}
    state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], [size // 16, size // 16])
    teacher = cast("VisionTransformer", timm.create_model(TEACHER, pretrained=False, img_size=size))
    teacher.load_state_dict(state, strict=True)
    return teacher.eval().requires_grad_(False)


def to_input(images: Tensor, size: int) -> Tensor:
    """Resize uint8 images `(B, 3, H, W)` with bicubic interpolation and bring them to `[-1, 1]`, float."""
    scaled = images.float() / 127.5 - 1
    if images.shape[-1] != size:
        scaled = functional.interpolate(scaled, size=(size, size), mode="bicubic", antialias=True)
    return scaled.clamp(-1, 1)


@torch.inference_mode()
def prepare_targets(teacher_path: Path, work_dir: Path, *, size: int) -> None:
    """Store what the teacher sees in every view, float16.

    Writes `class_tokens.npy` `(V * N, D)`, the normed class token, and `patch_tokens.npy` `(V * N, 2, N, D)`: the
    normalised tokens of the middle block and the normed tokens of the last, pooled to the student's grid.
    Continues after the last finished batch.
    """
    images = np.load(work_dir / "images.npy", mmap_mode="r")
    progress = work_dir / "targets.json"
    done = json.loads(progress.read_text())["done"] if progress.exists() else 0
    mode = "r+" if done else "w+"
    tokens = np.lib.format.open_memmap(
        work_dir / "patch_tokens.npy", mode, np.float16, (len(images), 2, GRID**2, WIDTH)
    )
    classes = np.lib.format.open_memmap(
        work_dir / "class_tokens.npy", mode, np.float16, (len(images), WIDTH)
    )
    teacher = load_teacher(teacher_path, size)
    for start in range(done, len(images), 100):
        stop = min(start + 100, len(images))
        batch = to_input(torch.from_numpy(images[start:stop].copy()), size)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = teacher.forward_intermediates(batch, indices=[TEACHER_MIDDLE])
        last, (middle,) = cast("tuple[Tensor, list[Tensor]]", outputs)
        last = last.float()
        side = size // 16
        maps = torch.stack(
            (
                functional.layer_norm(middle.float().movedim(1, 3), (WIDTH,)).movedim(3, 1),
                last[:, 1:].unflatten(1, (side, side)).movedim(3, 1),
            ),
            dim=1,
        )
        pooled = functional.adaptive_avg_pool2d(maps.flatten(0, 1), GRID).flatten(2).mT
        tokens[start:stop] = pooled.unflatten(0, (-1, 2)).half().numpy()
        classes[start:stop] = last[:, 0].half().numpy()
        if stop % 5000 == 0 or stop == len(images):
            tokens.flush()
            classes.flush()
            write_bytes(progress, json.dumps({"done": stop}).encode())
            log(f"teacher targets: {stop} of {len(images)} views")


# The student and its training


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What decides the trained weights, apart from data and teacher."""

    epochs: int
    """Most passes over the images (one view each); the schedule ends here if the time does not end it earlier."""
    minutes: float
    """Training time at which the schedule ends, resumed parts included; `inf` makes a run repeatable bit for bit."""
    batch_size: int
    """Images a step; 128 is where this network's throughput stops growing on two cores."""
    learning_rate: float
    """Peak of the schedule: linear warm-up over 2 % of it, then a cosine to zero."""
    weight_decay: float
    """AdamW's, on matrices only; the usual value for ViTs."""
    drop_rate: float
    """Part of the patch tokens left out until `drop_until`: half the tokens, twice the images a second."""
    drop_until: float
    """Part of the schedule after which all tokens are kept, as they are when the backbone is used."""
    seed: int
    """Decides initial weights, order, views and augmentation."""


class Student(nn.Module):
    """The backbone with the projections that only training needs."""

    def __init__(self, n_labels: int) -> None:
        super().__init__()
        self.vit = VisionTransformer(**ARCHITECTURE)
        self.to_class = nn.Linear(WIDTH, WIDTH)
        self.to_middle = nn.Linear(WIDTH, WIDTH)
        self.to_last = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, n_labels)
        nn.init.eye_(self.to_class.weight)  # keeps the class token close to the teacher's geometry
        nn.init.zeros_(self.to_class.bias)

    def forward(self, images: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the feature and the projected patch tokens.

        Args:
            images: `(B, 3, 64, 64)` in `[-1, 1]`.
            kept: Indices of the patch tokens that take part, `(B, N)`, or None for all.

        Returns:
            Normed class token `(B, D)`, and the projected patch tokens of the middle and last block, `(B, N, D)`.
        """
        positions = cast("Tensor", self.vit.pos_embed)
        tokens = self.vit.patch_embed(images) + positions[:, 1:]
        if kept is not None:
            tokens = tokens.gather(1, kept[:, :, None].expand(-1, -1, WIDTH))
        first = cast("Tensor", self.vit.cls_token) + positions[:, :1]
        tokens = torch.cat((first.expand(len(images), -1, -1), tokens), dim=1)
        middle = tokens
        for i, block in enumerate(self.vit.blocks):
            tokens = block(tokens)
            if i == len(self.vit.blocks) // 2 - 1:
                middle = tokens
        tokens = self.vit.norm(tokens)
        middle = functional.layer_norm(middle[:, 1:], (WIDTH,))
        return tokens[:, 0], self.to_middle(middle), self.to_last(tokens[:, 1:])


class Pool:
    """The views and targets that `prepare_images` and `prepare_targets` left in `work_dir`, drawn in batches."""

    def __init__(self, work_dir: Path) -> None:
        self.images = np.load(work_dir / "images.npy", mmap_mode="r")
        self.labels = torch.from_numpy(np.load(work_dir / "labels.npy"))
        self.classes = torch.from_numpy(np.load(work_dir / "class_tokens.npy"))
        self.tokens = np.load(work_dir / "patch_tokens.npy", mmap_mode="r")
        self.n_images = len(self.images) // 2
        sample = torch.from_numpy(self.tokens[:: len(self.tokens) // 2000].astype(np.float32))
        self.token_mean = sample.mean(dim=(0, 2))[:, None]  # (2, 1, D)
        self.token_std = sample.std(dim=(0, 2))[:, None]
        self.class_mean = self.classes.float().mean(dim=0)
        self.class_std = self.classes.float().std(dim=0)

    def draw(self, step: int, config: TrainingConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw the batch of a step, which depends on nothing but the step and the seed.

        Images and patch targets share a mirror and a mild zoom; brightness and contrast vary by 20 %.

        Returns:
            Images `(B, 3, 64, 64)` in about `[-1, 1]`, labels `(B,)`, standardised class tokens `(B, D)` and
            standardised patch tokens `(B, 2, N, D)`.
        """
        B = config.batch_size
        epoch, position = divmod(step, self.n_images // B)
        order = np.random.default_rng((config.seed, epoch)).permutation(self.n_images)
        rng = np.random.default_rng((config.seed, epoch, position))
        rows = order[position * B : (position + 1) * B] + self.n_images * rng.integers(0, 2, B)
        images = torch.from_numpy(self.images[rows]).float() / 127.5 - 1
        tokens = (torch.from_numpy(self.tokens[rows]).float() - self.token_mean) / self.token_std
        zoom = rng.uniform(0.8, 1.0, B)
        theta = np.zeros((B, 2, 3), dtype=np.float32)
        theta[:, 0, 0] = zoom * rng.choice((-1, 1), B)
        theta[:, 1, 1] = zoom
        theta[:, :, 2] = rng.uniform(-1, 1, (B, 2)) * (1 - zoom)[:, None]
        affine = torch.from_numpy(theta)
        grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
        images = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
        tokens = warp_matrix(affine)[:, None] @ tokens
        light = torch.from_numpy(rng.uniform(-0.2, 0.2, (2, B, 1, 1, 1)).astype(np.float32))
        images = images * (1 + light[0]) + light[1]
        index = torch.from_numpy(rows)
        classes = (self.classes[index].float() - self.class_mean) / self.class_std
        return images.clamp(-1, 1), self.labels[index], classes, tokens


def warp_matrix(affine: Tensor) -> Tensor:
    """Write the bilinear resampling of the token grid as a matrix: a product is much faster than `grid_sample` here.

    Args:
        affine: Axis-aligned maps of normalised coordinates, `(B, 2, 3)`, as for `affine_grid`.

    Returns:
        `(B, N, N)`, rows the new tokens, columns the old ones.
    """
    places = torch.arange(GRID)
    centres = (2 * places + 1) / GRID - 1
    scale, shift = affine[:, [0, 1], [0, 1]], affine[:, :, 2]
    old = ((scale[:, :, None] * centres + shift[:, :, None] + 1) * GRID - 1) / 2  # (B, 2, 8)
    across, down = (1 - (old.clamp(0, GRID - 1)[..., None] - places).abs()).relu().unbind(dim=1)
    return torch.einsum("bij,bkl->bikjl", down, across).reshape(-1, GRID**2, GRID**2)


class Losses:
    """The sum the student minimises: class token, patch tokens, teacher logits, labels."""

    def __init__(self, pool: Pool, teacher: VisionTransformer) -> None:
        self.pool = pool
        self.teacher_head = teacher.head

    def __call__(
        self, student: Student, batch: tuple[Tensor, Tensor, Tensor, Tensor], kept: Tensor | None
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and its unweighted parts; mean squares are in units of the targets' variance."""
        images, labels, classes, tokens = batch
        with torch.autocast("cpu", torch.bfloat16):
            feature, middle, last = student(images, kept)
        feature, outputs = feature.float(), torch.stack((middle, last), dim=1).float()
        if kept is not None:
            tokens = tokens.gather(2, kept[:, None, :, None].expand(-1, 2, -1, WIDTH))
        guess = student.to_class(feature)
        mean, std = self.pool.class_mean, self.pool.class_std
        teacher_logits = self.teacher_head(classes * std + mean)
        student_logits = self.teacher_head(guess * std + mean)
        parts = {
            "class": functional.mse_loss(guess, classes),
            "patch": functional.mse_loss(outputs, tokens),
            "logits": functional.kl_div(
                student_logits.log_softmax(-1),
                teacher_logits.log_softmax(-1),
                reduction="batchmean",
                log_target=True,
            ),
            "labels": functional.cross_entropy(student.head(feature), labels, label_smoothing=0.1),
        }
        weights = {"class": 2.0, "patch": 1.0, "logits": 0.3, "labels": 0.2}  # chosen, untested
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return total, {name: part.item() for name, part in parts.items()}


class Trainer:
    """Student, optimiser and averaged weights, with a checkpoint that continues all three."""

    def __init__(self, pool: Pool, teacher: VisionTransformer, config: TrainingConfig) -> None:
        torch.manual_seed(config.seed)
        self.config, self.pool = config, pool
        self.losses = Losses(pool, teacher)
        self.student = Student(int(pool.labels.max()) + 1)
        self.average = {k: v.clone() for k, v in self.student.vit.state_dict().items()}
        parameters = list(self.student.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim == 2], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim != 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        self.step, self.elapsed_s = 0, 0.0

    @property
    def progress(self) -> float:
        """Part of the schedule that is over, by steps or by time, whichever is further."""
        steps = self.config.epochs * (self.pool.n_images // self.config.batch_size)
        return min(1.0, max(self.step / steps, self.elapsed_s / (60 * self.config.minutes)))

    def advance(self) -> dict[str, float]:
        """Take one step and return the parts of its loss."""
        started, progress = time.monotonic(), self.progress
        rate = min(progress / 0.02 + 0.001, 0.5 + 0.5 * math.cos(math.pi * progress))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * rate
        kept = None
        if progress < self.config.drop_until and self.config.drop_rate > 0:
            generator = torch.Generator().manual_seed(self.config.seed + self.step)
            noise = torch.rand(self.config.batch_size, GRID**2, generator=generator)
            kept = noise.argsort(dim=1)[:, : round(GRID**2 * (1 - self.config.drop_rate))]
        loss, parts = self.losses(self.student, self.pool.draw(self.step, self.config), kept)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(EMA_DECAY, self.step / (10 + self.step))
        for name, tensor in self.student.vit.state_dict().items():
            self.average[name].lerp_(tensor, 1 - decay)
        self.elapsed_s += time.monotonic() - started
        return parts

    def save(self, path: Path) -> None:
        """Write the checkpoint: one safetensors file, counters as its last tensor, so that both move together."""
        tensors = {f"student.{k}": v for k, v in self.student.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for name, parameter in self.student.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{key}.{name}"] = value
        tensors["counters"] = torch.tensor([self.step, self.elapsed_s], dtype=torch.float64)
        write_tensors(path, tensors)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint that `save` wrote."""
        tensors = load_file(path)
        self.student.load_state_dict(strip_prefix(tensors, "student."))
        self.average = strip_prefix(tensors, "average.")
        for name, parameter in self.student.named_parameters():
            self.optimizer.state[parameter] = {
                key: tensors[f"optimizer.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")
            }
        self.step, self.elapsed_s = int(tensors["counters"][0]), float(tensors["counters"][1])


def strip_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Select the tensors of one name space."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def export(weights: Mapping[str, Tensor], out: Path) -> None:
    """Write `bundled.safetensors` (float16, timm's names) and the `bundled.json` that describes it."""
    halves = {name: tensor.half() for name, tensor in weights.items()}
    if not all(tensor.isfinite().all() for tensor in halves.values()):
        raise ValueError("The weights do not fit in float16: the training has diverged.")
    out.mkdir(parents=True, exist_ok=True)
    write_tensors(out / "bundled.safetensors", halves)
    card = {
        "architecture": ARCHITECTURE,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "name": "bundled",
        "revision": "1",
        "sha256": hashlib.sha256((out / "bundled.safetensors").read_bytes()).hexdigest(),
    }
    write_bytes(out / "bundled.json", (json.dumps(card, indent=2) + "\n").encode())


def train(config: TrainingConfig, teacher: VisionTransformer, work_dir: Path, out: Path) -> None:
    """Train to the end of the schedule, exporting every 10 minutes and at the end."""
    trainer = Trainer(Pool(work_dir), teacher, config)
    checkpoint = work_dir / "checkpoint.safetensors"
    if checkpoint.exists():
        trainer.load(checkpoint)
        log(f"continue at step {trainer.step}, {trainer.elapsed_s / 60:.1f} minutes in")
    saved_s = trainer.elapsed_s
    while trainer.progress < 1:
        parts = trainer.advance()
        if trainer.step % 100 == 0:
            numbers = " ".join(f"{name} {part:.3f}" for name, part in parts.items())
            epoch = trainer.step * config.batch_size / trainer.pool.n_images
            speed = trainer.step * config.batch_size / trainer.elapsed_s
            log(
                f"step {trainer.step} epoch {epoch:.2f} {trainer.progress:.1%} {numbers} {speed:.0f}/s"
            )
        if trainer.elapsed_s - saved_s > 600 or trainer.progress >= 1:
            saved_s = trainer.elapsed_s
            trainer.save(checkpoint)
            export(trainer.average, out)
            log("exported")


# What the features are worth


def load_bundled(out: Path) -> VisionTransformer:
    """Load the exported backbone the way a user does, in evaluation mode."""
    card = json.loads((out / "bundled.json").read_text())
    weights = load_file(out / "bundled.safetensors")
    vit = VisionTransformer(**card["architecture"])
    vit.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=True)
    return vit.eval().requires_grad_(False)


@torch.inference_mode()
def embed(vit: VisionTransformer, images: Tensor, size: int) -> Tensor:
    """Return the normed class tokens `(B, D)` of uint8 images `(B, 3, H, W)`, resized to `size` pixels."""
    batches = (vit.forward_features(to_input(batch, size))[:, 0] for batch in images.split(100))
    return torch.cat(list(batches))


def score_class_means(train: Tensor, targets: Tensor, test: Tensor, truth: Tensor) -> float:
    """Accuracy of the nearest class mean by cosine on features `(B, D)`."""
    unit = functional.normalize(train, dim=1)
    means = torch.stack([unit[targets == k].mean(dim=0) for k in range(int(targets.max()) + 1)])
    logits = functional.normalize(test, dim=1) @ functional.normalize(means, dim=1).T
    return float((logits.argmax(dim=1) == truth).float().mean())


def score_ridge(train: Tensor, targets: Tensor, test: Tensor, truth: Tensor) -> float:
    """Accuracy of ridge regression on one-hot targets, features standardised, penalty 100 (chosen, untested)."""
    mean, std = train.mean(dim=0), train.std(dim=0) + 1e-6
    inputs, wanted = (train - mean) / std, functional.one_hot(targets).float()
    gram = inputs.T @ inputs + 100 * torch.eye(inputs.shape[1])
    weights = torch.linalg.solve(gram, inputs.T @ (wanted - wanted.mean(dim=0)))
    logits = (test - mean) / std @ weights + wanted.mean(dim=0)
    return float((logits.argmax(dim=1) == truth).float().mean())


@dataclass(frozen=True, kw_only=True)
class Split:
    """A labelled data set cut in two: uint8 images `(B, 3, H, W)` and targets `(B,)`."""

    train_images: Tensor
    train_targets: Tensor
    test_images: Tensor
    test_targets: Tensor


def split_first(images: Tensor, targets: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the rows of the first `n` images of each class, and the rows of the others."""
    rank = torch.zeros_like(targets)
    for k in targets.unique():
        rank[targets == k] = torch.arange(int((targets == k).sum()))
    return (rank < n).nonzero()[:, 0], (rank >= n).nonzero()[:, 0]


def read_digits() -> Split:
    """scikit-learn's digits (8x8): the first 20 of each class train, the others test."""
    digits = load_digits()
    grey = torch.from_numpy(digits.images / 16 * 255).round().to(torch.uint8)
    images, targets = grey[:, None].expand(-1, 3, -1, -1), torch.from_numpy(digits.target).long()
    train, test = split_first(images, targets, 20)
    return Split(
        train_images=images[train],
        train_targets=targets[train],
        test_images=images[test],
        test_targets=targets[test],
    )


def read_cifar(root: Path, part: str, n: int) -> tuple[Tensor, Tensor]:
    """Read the first `n` images of each CIFAR-100 class.

    Args:
        root: torchvision's root folder, or a folder `{train,test}` of one WebP strip a class (`NN_name.webp`).
        part: `train` or `test`.
        n: Images a class.
    """
    strips = sorted((root / part).glob("*.webp"))
    if strips:
        arrays = [
            np.asarray(Image.open(s).convert("RGB")).reshape(-1, 32, 32, 3)[:n] for s in strips
        ]
        pixels, targets = np.concatenate(arrays), torch.arange(len(strips)).repeat_interleave(n)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2), targets
    data = CIFAR100(str(root), train=part == "train")
    pixels, targets = np.asarray(data.data), torch.tensor(data.targets)
    first, _ = split_first(torch.from_numpy(pixels), targets, n)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)[first], targets[first]


def report_accuracy(name: str, vit: VisionTransformer, size: int, split: Split) -> None:
    """Log class-mean and ridge accuracy of frozen features."""
    train, test = embed(vit, split.train_images, size), embed(vit, split.test_images, size)
    means = score_class_means(train, split.train_targets, test, split.test_targets)
    ridge = score_ridge(train, split.train_targets, test, split.test_targets)
    log(f"{name} at {size} px: class means {means:.1%}, ridge {ridge:.1%}")


@torch.inference_mode()
def report_speed(vit: nn.Module, other: nn.Module) -> None:
    """Log the median time of a forward pass of the backbone and of ViT-Tiny at 224 px, in turns."""
    for B in (1, 32):
        pairs = ((vit, torch.randn(B, 3, SIZE, SIZE)), (other, torch.randn(B, 3, 224, 224)))
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(3 + 60 // B + 10):
            for (network, images), seconds in zip(pairs, times, strict=True):
                started = time.perf_counter()
                network(images)
                seconds.append(time.perf_counter() - started)
        ours, theirs = (1000 * float(np.median(seconds[3:])) for seconds in times)
        log(f"batch {B}: bundled {ours:.1f} ms, ViT-Tiny at 224 px {theirs:.1f} ms")


def evaluate(out: Path, teacher: Path | None, cifar: Path | None) -> None:
    """Log what the exported backbone is worth next to an untrained one and, where given, to the teacher."""
    torch.manual_seed(0)
    bundled = load_bundled(out)
    untrained = VisionTransformer(**ARCHITECTURE).eval()
    sets = {"digits": read_digits()}
    if cifar is not None:
        train, train_targets = read_cifar(cifar, "train", 50)
        test, test_targets = read_cifar(cifar, "test", 20)
        sets["CIFAR-100"] = Split(
            train_images=train,
            train_targets=train_targets,
            test_images=test,
            test_targets=test_targets,
        )
    for name, split in sets.items():
        report_accuracy(f"{name}, bundled", bundled, SIZE, split)
        report_accuracy(f"{name}, untrained", untrained, SIZE, split)
    report_speed(bundled, timm.create_model(TEACHER, pretrained=False, num_classes=0).eval())
    if teacher is not None:
        for size in (112, 224):
            for name, split in sets.items():
                report_accuracy(f"{name}, teacher", load_teacher(teacher, size), size, split)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Train or evaluate the bundled backbone on a CPU.")
    parser.add_argument("--data", type=Path, help="Tiny ImageNet: train*.npz or the train folder")
    parser.add_argument("--teacher", type=Path, help=f"safetensors weights of {TEACHER}")
    parser.add_argument("--teacher-size", type=int, default=160, help="pixels the teacher sees")
    parser.add_argument("--out", type=Path, required=True, help="folder of bundled.safetensors")
    parser.add_argument("--work-dir", type=Path, help="views, targets (6 GB) and checkpoint")
    parser.add_argument("--epochs", type=int, default=60, help="most passes over the images")
    parser.add_argument("--minutes", type=float, default=math.inf, help="training time")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--drop-rate", type=float, default=0.5, help="patch tokens left out")
    parser.add_argument("--drop-until", type=float, default=0.6, help="part of the schedule")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--evaluate", action="store_true", help="measure --out, train nothing")
    parser.add_argument("--cifar", type=Path, help="CIFAR-100, for --evaluate")
    arguments = parser.parse_args(argv)
    needed = () if arguments.evaluate else ("data", "teacher", "work_dir")
    for name in needed:
        if getattr(arguments, name) is None:
            parser.error(f"--{name.replace('_', '-')} is needed for training")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    arguments = parse_arguments(argv)
    torch.set_num_threads(arguments.threads)
    if arguments.evaluate:
        evaluate(arguments.out, arguments.teacher, arguments.cifar)
        return
    set_fused_attn(False)  # measured: its CPU backward takes half of a training step at 65 tokens
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    prepare_images(arguments.data, arguments.work_dir, seed=arguments.seed)
    prepare_targets(arguments.teacher, arguments.work_dir, size=arguments.teacher_size)
    config = TrainingConfig(
        epochs=arguments.epochs,
        minutes=arguments.minutes,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        weight_decay=arguments.weight_decay,
        drop_rate=arguments.drop_rate,
        drop_until=arguments.drop_until,
        seed=arguments.seed,
    )
    teacher = load_teacher(arguments.teacher, arguments.teacher_size)
    train(config, teacher, arguments.work_dir, arguments.out)


if __name__ == "__main__":
    main()

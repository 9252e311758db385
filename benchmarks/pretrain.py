"""Train the small bundled backbone: distil a larger ViT on Tiny ImageNet, and tell invented characters apart.

The teacher runs once over a fixed pool of views (the image and two crops of it); what it says is kept on disk and the
student learns from there: class token, patch tokens, teacher logits and labels. A quarter as many drawings of invented
characters (`benchmarks.glyphs`) go along. Everything the student sees in a step follows from the seed and the step
number, so an interrupted run continues from its last checkpoint. One file on purpose: the recipe of the shipped weights
reads from top to bottom.

    python -m benchmarks.pretrain --data DIR --teacher FILE --work-dir DIR --out models/weights --epochs 60
    python -m benchmarks.backbone --data DIR --weights FILE        what the result is worth

Shapes: B images, N tokens of the student, T tokens kept of the teacher, D width of student, E of teacher, V views,
K classes.
"""

import argparse
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save
from timm.layers.config import set_fused_attn
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.datasets import read_split
from benchmarks.files import write_bytes
from benchmarks.glyphs import draw_all
from models.backbone import build_vit

ARCHITECTURE: dict[str, Any] = {
    "img_size": 64,
    "patch_size": 2,
    "embed_dim": 288,
    "depth": 4,
    "num_heads": 6,
    "num_classes": 0,
    "stem": {"channels": [32, 64, 128], "stride": [2, 2, 2]},
}
SIZE = 64  # pixels of the student's input, and of Tiny ImageNet
TEACHER = "vit_tiny_patch16_224"
TEACHER_GRID = (
    8  # the teacher's patch tokens are pooled to this many on a side before they are stored
)
TEACHER_WIDTH = 192
N_VIEWS = 3  # the image, and two crops of it
CROP_AREA = (0.25, 0.9)  # of the crops; chosen, untested
N_CHARACTERS, N_DRAWINGS = 1000, 60
GLYPH_SHARE = 0.25  # drawings for every photograph
CROP = 0.9  # of the shorter side, kept when images are served: objects look as large as in training crops
EMA_DECAY = 0.998  # of the exported average of the weights; chosen, untested


def log(message: str) -> None:
    """Write one line with the time of day to standard output."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {message}\n")
    sys.stdout.flush()


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Replace a safetensors file in one step."""
    write_bytes(path, save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}))


# Images and what the teacher says about them


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
    """Decode all images and their crops into `images.npy`, `(V * N, 3, 64, 64)` uint8, and `labels.npy`."""
    if (work_dir / "labels.npy").exists():
        return
    rng = np.random.default_rng(seed)
    views: tuple[list[npt.NDArray[np.uint8]], ...] = tuple([] for _ in range(N_VIEWS))
    stored = read_split(data, "train")
    for pixels in stored.images:
        views[0].append(pixels)
        for view in views[1:]:
            view.append(np.asarray(crop_randomly(Image.fromarray(pixels), rng)))
    targets = stored.targets.tolist()
    images = np.stack([image for view in views for image in view]).transpose(0, 3, 1, 2)
    np.save(work_dir / "images.npy", np.ascontiguousarray(images))
    np.save(work_dir / "labels.npy", np.asarray(targets * N_VIEWS, dtype=np.int64))
    log(f"decoded {len(targets)} images, {len(images)} views")


def prepare_glyphs(work_dir: Path, *, seed: int) -> None:
    """Draw the invented characters into `glyphs.npy`, uint8, and `characters.npy`."""
    if (work_dir / "characters.npy").exists():
        return
    drawings, characters = draw_all(N_CHARACTERS, N_DRAWINGS, seed=seed)
    np.save(work_dir / "glyphs.npy", drawings)
    np.save(work_dir / "characters.npy", characters)
    log(f"drew {len(drawings)} characters")


def load_teacher(path: Path, size: int) -> VisionTransformer:
    """Build the teacher ViT-Tiny/16 for square images of `size` pixels, in evaluation mode."""
    state = {name: tensor.float() for name, tensor in load_file(path).items()}
    state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], [size // 16, size // 16])
    teacher = cast("VisionTransformer", timm.create_model(TEACHER, pretrained=False, img_size=size))
    teacher.load_state_dict(state, strict=True)
    return teacher.eval().requires_grad_(False)


def to_input(images: Tensor, size: int) -> Tensor:
    """Resize uint8 images `(B, 3, H, W)` with bicubic interpolation and bring them to `[-1, 1]`, float."""
    return resize(images.float() / 127.5 - 1, size).clamp(-1, 1)


def resize(images: Tensor, size: int) -> Tensor:
    """Resize float images to `size` pixels the way Pillow does, with bicubic interpolation."""
    if images.shape[-1] == size:
        return images
    return functional.interpolate(images, size=(size, size), mode="bicubic", antialias=True)


@torch.inference_mode()
def prepare_targets(teacher_path: Path, work_dir: Path, *, size: int, device: torch.device) -> None:
    """Store what the teacher sees in every view, float16.

    Writes `class_tokens.npy` `(V * N, E)`, the normed class token, and `patch_tokens.npy` `(V * N, T, E)`: the normed
    patch tokens of the last block, pooled to `TEACHER_GRID`. Continues after the last finished batch.
    """
    images = np.load(work_dir / "images.npy", mmap_mode="r")
    progress = work_dir / "targets.json"
    done = json.loads(progress.read_text())["done"] if progress.exists() else 0
    mode = "r+" if done else "w+"
    tokens = np.lib.format.open_memmap(
        work_dir / "patch_tokens.npy",
        mode,
        np.float16,
        (len(images), TEACHER_GRID**2, TEACHER_WIDTH),
    )
    classes = np.lib.format.open_memmap(
        work_dir / "class_tokens.npy", mode, np.float16, (len(images), TEACHER_WIDTH)
    )
    teacher = load_teacher(teacher_path, size).to(device)
    for start in range(done, len(images), 100):
        stop = min(start + 100, len(images))
        batch = to_input(torch.from_numpy(images[start:stop].copy()).to(device), size)
        with torch.autocast(device.type, torch.bfloat16):
            last = teacher.forward_features(batch).float()
        side = size // 16
        maps = last[:, 1:].unflatten(1, (side, side)).movedim(3, 1)
        pooled = functional.adaptive_avg_pool2d(maps, TEACHER_GRID).flatten(2).mT
        tokens[start:stop] = pooled.half().cpu().numpy()
        classes[start:stop] = last[:, 0].half().cpu().numpy()
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
    """Passes over the images (one view each); the schedule ends here if the time does not end it earlier."""
    minutes: float
    """Training time at which the schedule ends, resumed parts included; `inf` makes a run repeatable bit for bit."""
    batch_size: int
    """Photographs a step; drawings come on top."""
    matrix_rate: float
    """Muon's rate for the matrices of the blocks (Jordan et al. 2024), in AdamW's scale. Both rates are peaks of one
    schedule: linear warm-up over 2 % of it, then a cosine to zero."""
    other_rate: float
    """AdamW's rate for everything else."""
    weight_decay: float
    """On matrices and kernels only; the usual value for ViTs."""
    seed: int
    """Decides initial weights, order, views, drawings and augmentation."""


class Student(nn.Module):
    """The backbone with the projections that only training needs."""

    def __init__(self, n_labels: int, architecture: Mapping[str, Any]) -> None:
        super().__init__()
        self.vit = build_vit(architecture)
        width = self.vit.num_features
        self.grid = math.isqrt(self.vit.patch_embed.num_patches)
        self.to_class = nn.Linear(width, TEACHER_WIDTH)
        self.to_patches = nn.Linear(width, TEACHER_WIDTH)
        self.head = nn.Linear(width, n_labels)
        self.characters = nn.Linear(width, N_CHARACTERS)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the feature, the normed class token `(B, D)`, and the projected patch tokens `(B, N, E)`.

        Args:
            images: `(B, 3, 64, 64)` in `[-1, 1]`.
        """
        tokens = self.vit.forward_features(images)
        return tokens[:, 0], self.to_patches(tokens[:, 1:])


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a step learns from."""

    photographs: Tensor
    """`(B, 3, 64, 64)`, about `[-1, 1]`."""
    labels: Tensor
    """`(B,)`."""
    classes: Tensor
    """Standardised class tokens of the teacher, `(B, E)`."""
    tokens: Tensor
    """Standardised patch tokens of the teacher at the student's grid, `(B, N, E)`."""
    glyphs: Tensor
    """`(B * GLYPH_SHARE, 3, 64, 64)`."""
    characters: Tensor
    """`(B * GLYPH_SHARE,)`."""


class Pool:
    """The views, drawings and targets that the `prepare_` functions left in `work_dir`, drawn in batches."""

    def __init__(self, work_dir: Path, grid: int, device: torch.device) -> None:
        """Open the files; on a GPU, bring them there whole (6 GB)."""

        def open_array(name: str) -> Tensor:
            array = torch.from_numpy(np.load(work_dir / f"{name}.npy", mmap_mode="c"))
            return array.to(device)  # on a CPU this stays the mapped file

        self.images, self.labels = open_array("images"), open_array("labels")
        self.classes, self.tokens = open_array("class_tokens"), open_array("patch_tokens")
        self.glyphs, self.characters = open_array("glyphs"), open_array("characters")
        self.n_images, self.grid, self.device = len(self.images) // N_VIEWS, grid, device
        sample = self.tokens[:: max(1, len(self.tokens) // 2000)].float()
        self.token_mean, self.token_std = sample.mean(dim=(0, 1)), sample.std(dim=(0, 1))
        self.class_mean = self.classes.float().mean(dim=0)
        self.class_std = self.classes.float().std(dim=0)

    def draw(self, step: int, config: TrainingConfig) -> Batch:
        """Draw the batch of a step, which depends on nothing but the step and the seed.

        Photographs and patch targets share a mirror and a mild zoom. Half of the photographs lose resolution (down
        to 16 to 48 pixels): what is served later is often smaller than 64. Brightness and contrast vary by 30 %,
        one in ten is grey. Drawings are white on black, black on white, or of two random colours.
        """
        B, G = config.batch_size, round(config.batch_size * GLYPH_SHARE)
        epoch, position = divmod(step, self.n_images // B)
        order = np.random.default_rng((config.seed, epoch)).permutation(self.n_images)
        rng = np.random.default_rng((config.seed, epoch, position))
        rows = order[position * B : (position + 1) * B] + self.n_images * rng.integers(
            0, N_VIEWS, B
        )

        def random(low: float, high: float, *shape: int) -> Tensor:
            return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32)).to(
                self.device
            )

        index = torch.from_numpy(rows).to(self.device)
        images = self.images[index].float() / 127.5 - 1
        zoom = random(0.8, 1.0, B)
        theta = torch.zeros(B, 2, 3, device=self.device)
        theta[:, 0, 0] = zoom * random(-1, 1, B).sign()
        theta[:, 1, 1] = zoom
        theta[:, :, 2] = random(-1, 1, B, 2) * (1 - zoom)[:, None]
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        images = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
        tokens = warp_matrix(theta, self.grid) @ self.tokens[index].float()
        for part in images.split(B // 8)[:4]:
            part.copy_(resize(resize(part, int(rng.integers(16, 49))), SIZE))
        grey = random(0, 1, B, 1, 1, 1) < 0.1
        images = torch.where(grey, images.mean(dim=1, keepdim=True), images)
        images = images * (1 + random(-0.3, 0.3, B, 1, 1, 1)) + random(-0.3, 0.3, B, 1, 1, 1)

        chosen = torch.from_numpy(rng.integers(0, len(self.glyphs), G)).to(self.device)
        ink = self.glyphs[chosen].float()[:, None] / 255
        paper, pen = random(-1, 1, G, 3, 1, 1), random(-1, 1, G, 3, 1, 1)
        paper[: G // 2], pen[: G // 2] = -1, 1
        paper[G // 2 : 5 * G // 8], pen[G // 2 : 5 * G // 8] = 1, -1
        return Batch(
            photographs=images.clamp(-1, 1),
            labels=self.labels[index],
            classes=(self.classes[index].float() - self.class_mean) / self.class_std,
            tokens=(tokens - self.token_mean) / self.token_std,
            glyphs=paper + ink * (pen - paper),
            characters=self.characters[chosen],
        )


def warp_matrix(affine: Tensor, grid: int) -> Tensor:
    """Write resampling the teacher's token grid, and pooling it to the student's, as a matrix.

    Args:
        affine: Axis-aligned maps of normalised coordinates, `(B, 2, 3)`, as for `affine_grid`.
        grid: Tokens of the student on a side; divides `TEACHER_GRID`.

    Returns:
        `(B, N, T)`, rows the student's tokens, columns the teacher's.
    """
    places = torch.arange(TEACHER_GRID, device=affine.device)
    centres = (2 * places + 1) / TEACHER_GRID - 1
    scale, shift = affine[:, [0, 1], [0, 1]], affine[:, :, 2]
    old = (
        (scale[:, :, None] * centres + shift[:, :, None] + 1) * TEACHER_GRID - 1
    ) / 2  # (B, 2, 8)
    weights = (1 - (old.clamp(0, TEACHER_GRID - 1)[..., None] - places).abs()).relu()
    across, down = weights.unflatten(2, (grid, -1)).mean(dim=3).unbind(dim=1)
    return torch.einsum("bij,bkl->bikjl", down, across).reshape(len(affine), grid**2, -1)


class Losses:
    """The sum the student minimises: class token, patch tokens, teacher logits, labels, characters."""

    def __init__(self, pool: Pool, teacher: VisionTransformer) -> None:
        self.pool = pool
        self.teacher_head = teacher.head.to(pool.device)

    def __call__(self, student: Student, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and its unweighted parts; mean squares are in units of the targets' variance."""
        B = len(batch.photographs)
        images = torch.cat((batch.photographs, batch.glyphs))
        with torch.autocast(images.device.type, torch.bfloat16):
            features, patches = student(images.contiguous(memory_format=torch.channels_last))
            classes, labels = student.to_class(features[:B]), student.head(features[:B])
            characters = student.characters(features[B:])
        with torch.no_grad():
            wanted = self.logits(batch.classes)
        given = self.logits(classes.float())
        parts = {
            "class": functional.mse_loss(classes.float(), batch.classes),
            "patch": functional.mse_loss(patches[:B].float(), batch.tokens),
            "logits": functional.kl_div(
                given.log_softmax(dim=1),
                wanted.log_softmax(dim=1),
                log_target=True,
                reduction="batchmean",
            ),
            "label": functional.cross_entropy(labels.float(), batch.labels, label_smoothing=0.1),
            "glyph": functional.cross_entropy(characters.float(), batch.characters),
        }
        weights = {"class": 2.0, "patch": 1.0, "logits": 0.3, "label": 0.2, "glyph": 0.2}
        loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return loss, {name: part.item() for name, part in parts.items()}

    def logits(self, classes: Tensor) -> Tensor:
        """The teacher's logits `(B, 1000)` for a standardised class token."""
        logits: Tensor = self.teacher_head(classes * self.pool.class_std + self.pool.class_mean)
        return logits


class Trainer:
    """A student in training; `step` and `elapsed_s` count from the start, resumed parts included."""

    def __init__(
        self, pool: Pool, student: Student, teacher: VisionTransformer, config: TrainingConfig
    ) -> None:
        self.pool, self.config = pool, config
        self.losses = Losses(pool, teacher)
        self.student = student.to(pool.device).to(memory_format=torch.channels_last)
        self.average = {k: v.clone() for k, v in self.student.vit.state_dict().items()}
        named = list(self.student.named_parameters())
        inner = [p for name, p in named if name.startswith("vit.blocks.") and p.ndim == 2]
        chosen = {id(p) for p in inner}
        outer = [p for _, p in named if id(p) not in chosen]
        groups = [
            {"params": [p for p in outer if p.ndim in (2, 4)], "weight_decay": config.weight_decay},
            {"params": [p for p in outer if p.ndim not in (2, 4)], "weight_decay": 0.0},
        ]
        self.optimizers: tuple[tuple[torch.optim.Optimizer, float], ...] = (
            (
                torch.optim.Muon(
                    inner,
                    lr=config.matrix_rate,
                    weight_decay=config.weight_decay,
                    ns_steps=4,
                    adjust_lr_fn="match_rms_adamw",
                ),
                config.matrix_rate,
            ),
            (torch.optim.AdamW(groups, lr=config.other_rate, fused=True), config.other_rate),
        )
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
        loss, parts = self.losses(self.student, self.pool.draw(self.step, self.config))
        self.student.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        for optimizer, peak in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = peak * rate
            optimizer.step()
        self.step += 1
        decay = min(EMA_DECAY, self.step / (10 + self.step))
        for name, tensor in self.student.vit.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:
                self.average[name].copy_(tensor)
        self.elapsed_s += time.monotonic() - started
        return parts

    def save(self, path: Path) -> None:
        """Write the checkpoint: one safetensors file, counters as its last tensor, so that both move together."""
        tensors = {f"student.{k}": v for k, v in self.student.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for name, parameter in self.student.named_parameters():
            for optimizer, _ in self.optimizers:
                for key, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"{key}|{name}"] = value
        tensors["counters"] = torch.tensor([self.step, self.elapsed_s], dtype=torch.float64)
        write_tensors(path, tensors)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint that `save` wrote."""
        tensors = load_file(path, device=str(self.pool.device))
        self.student.load_state_dict(strip_prefix(tensors, "student."))
        self.average = strip_prefix(tensors, "average.")
        parameters = dict(self.student.named_parameters())
        state: dict[str, dict[str, Tensor]] = {}
        for label, tensor in tensors.items():
            key, bar, name = label.partition("|")
            if bar:  # moments lie in memory as their parameter does: the fused step takes that for granted
                shaped = tensor.shape == parameters[name].shape
                kept = torch.empty_like(parameters[name]).copy_(tensor) if shaped else tensor
                state.setdefault(name, {})[key] = kept.detach()
        for optimizer, _ in self.optimizers:
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            for name, values in state.items():
                if id(parameters[name]) in held:
                    optimizer.state[parameters[name]] = values
        self.step, self.elapsed_s = int(tensors["counters"][0]), float(tensors["counters"][1])


def strip_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Select the tensors of one name space."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def export(weights: Mapping[str, Tensor], out: Path, *, revision: str) -> None:
    """Write `bundled.safetensors` (float16, timm's names) and the `bundled.json` that describes it."""
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }
    if not all(tensor.isfinite().all() for tensor in halves.values()):
        raise ValueError("The weights do not fit in float16: the training has diverged.")
    out.mkdir(parents=True, exist_ok=True)
    write_tensors(out / "bundled.safetensors", halves)
    card = {
        "architecture": ARCHITECTURE,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "crop": CROP,
        "name": "bundled",
        "revision": revision,
        "sha256": hashlib.sha256((out / "bundled.safetensors").read_bytes()).hexdigest(),
    }
    write_bytes(out / "bundled.json", (json.dumps(card, indent=2) + "\n").encode())


def train(trainer: Trainer, work_dir: Path, out: Path, *, revision: str) -> None:
    """Train to the end of the schedule, exporting every 10 minutes and at the end."""
    checkpoint = work_dir / "checkpoint.safetensors"
    if checkpoint.exists():
        trainer.load(checkpoint)
        log(f"continue at step {trainer.step}, {trainer.elapsed_s / 60:.1f} minutes in")
    saved_s = trainer.elapsed_s
    while trainer.progress < 1:
        parts = trainer.advance()
        if trainer.step % 100 == 0:
            numbers = " ".join(f"{name} {part:.3f}" for name, part in parts.items())
            epoch = trainer.step * trainer.config.batch_size / trainer.pool.n_images
            speed = trainer.step * trainer.config.batch_size / trainer.elapsed_s
            log(
                f"step {trainer.step} epoch {epoch:.2f} {trainer.progress:.1%} {numbers} {speed:.0f}/s"
            )
        if trainer.elapsed_s - saved_s > 600 or trainer.progress >= 1:
            saved_s = trainer.elapsed_s
            trainer.save(checkpoint)
            export(trainer.average, out, revision=revision)
            log("exported")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Train the bundled backbone on a CPU or a GPU. The same command continues an interrupted run.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="Tiny ImageNet, see benchmarks.datasets"
    )
    parser.add_argument(
        "--teacher", type=Path, required=True, help=f"safetensors weights of {TEACHER}"
    )
    parser.add_argument("--teacher-size", type=int, default=160, help="pixels the teacher sees")
    parser.add_argument("--out", type=Path, required=True, help="folder of bundled.safetensors")
    parser.add_argument(
        "--work-dir", type=Path, required=True, help="views, targets (6 GB) and checkpoint"
    )
    parser.add_argument("--epochs", type=int, default=60, help="passes over the images")
    parser.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        help="training time that ends the schedule earlier",
    )
    parser.add_argument("--batch-size", type=int, default=192)
    parser.add_argument("--matrix-rate", type=float, default=3e-3, help="peak rate of Muon")
    parser.add_argument("--other-rate", type=float, default=1.5e-3, help="peak rate of AdamW")
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--revision", default="2", help="name of the result, recorded beside it")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    arguments = parse_arguments(argv)
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    if device.type == "cpu":
        set_fused_attn(
            False
        )  # measured: its CPU backward takes half of a training step at 65 tokens
    work_dir = arguments.work_dir
    work_dir.mkdir(parents=True, exist_ok=True)
    prepare_images(arguments.data, work_dir, seed=arguments.seed)
    prepare_glyphs(work_dir, seed=arguments.seed)
    prepare_targets(arguments.teacher, work_dir, size=arguments.teacher_size, device=device)
    config = TrainingConfig(
        epochs=arguments.epochs,
        minutes=arguments.minutes,
        batch_size=arguments.batch_size,
        matrix_rate=arguments.matrix_rate,
        other_rate=arguments.other_rate,
        weight_decay=arguments.weight_decay,
        seed=arguments.seed,
    )
    torch.manual_seed(config.seed)
    student = Student(int(np.load(work_dir / "labels.npy").max()) + 1, ARCHITECTURE)
    pool = Pool(work_dir, student.grid, device)
    teacher = load_teacher(arguments.teacher, arguments.teacher_size)
    train(
        Trainer(pool, student, teacher, config),
        work_dir,
        arguments.out,
        revision=arguments.revision,
    )


if __name__ == "__main__":
    main()

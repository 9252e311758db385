"""Labelled images for the benchmarks, from what people have on disk.

Shapes: N images, H, W pixels, K classes.
"""

import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images and what is on them."""

    images: list[NDArray[np.uint8]]
    """N images `(H, W, 3)`, RGB; sizes may differ."""
    targets: NDArray[np.int64]
    """`(N,)`, indexes into `classes`."""
    classes: tuple[str, ...]
    """K names."""

    def __len__(self) -> int:
        return len(self.images)

    def select(self, rows: NDArray[np.int64]) -> "LabelledImages":
        """Return the images of these rows, in that order."""
        images = [self.images[row] for row in rows]
        return LabelledImages(images=images, targets=self.targets[rows], classes=self.classes)


def read_split(data: Path, split: str, *, per_class: int | None = None) -> LabelledImages:
    """Read one split of a data set, the first images of every class.

    Args:
        data: One of
            - a folder with `train` and `test` (or `val`), each with a folder of images a class;
            - a folder with `train` and `test`, each with one strip of 32x32 images a class (`NN_name.webp`);
            - torchvision's root folder of CIFAR-100 (`cifar-100-python`);
            - Tiny ImageNet as `train*.npz` and `val*.npz` (JPEG files joined in `jpeg`, `offset`, `label`).
        split: `train` or `test`.
        per_class: Most images a class; None is all.

    Raises:
        FileNotFoundError: If `data` is none of these.
    """
    if (data / "cifar-100-python").is_dir():
        pairs, classes = _read_torchvision(data, split)
    elif sorted(data.glob("train*.npz")):
        pairs, classes = _read_archives(data, split)
    else:
        folder = next((f for f in (data / split, data / "val") if f.is_dir()), None)
        if folder is None or (split == "train" and folder.name == "val"):
            raise FileNotFoundError(f"{data} has no {split} images.")
        strips = sorted(folder.glob("*.webp"))
        pairs, classes = _read_strips(strips) if strips else _read_folders(folder)
    images, targets, taken = [], [], [0] * len(classes)
    for image, target in pairs:
        if per_class is None or taken[target] < per_class:
            taken[target] += 1
            images.append(image)
            targets.append(target)
    return LabelledImages(
        images=images, targets=np.asarray(targets, dtype=np.int64), classes=classes
    )


def read_folder(folder: Path) -> LabelledImages:
    """Read a folder with one folder of images a class, and no split."""
    pairs, classes = _read_folders(folder)
    read = list(pairs)
    return LabelledImages(
        images=[image for image, _ in read],
        targets=np.asarray([target for _, target in read], dtype=np.int64),
        classes=classes,
    )


def read_digits(per_class: int) -> tuple[LabelledImages, LabelledImages]:
    """scikit-learn's 1,797 handwritten digits: the first images of each class train, the rest test."""
    bunch = load_digits()
    grey = np.rint(bunch.images / 16 * 255).astype(np.uint8)
    targets = bunch.target.astype(np.int64)
    images = [np.repeat(image[:, :, None], 3, axis=2) for image in grey]
    both = LabelledImages(images=images, targets=targets, classes=tuple("0123456789"))
    first = np.concatenate([np.flatnonzero(targets == k)[:per_class] for k in range(10)])
    rest = np.setdiff1d(np.arange(len(targets)), first)
    return both.select(first), both.select(rest)


def read_mnist(data: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read MNIST's idx files, compressed or not, from `data` or from torchvision's `MNIST/raw` or `raw` in it.

    Args:
        data: The folder.
        split: `train` or `test`.

    Returns:
        Images `(N, 28, 28)` and their digits `(N,)`.

    Raises:
        FileNotFoundError: If a file is in none of these places.
    """
    stem = "train" if split == "train" else "t10k"
    images = _read_idx(data, f"{stem}-images-idx3-ubyte")
    return images, _read_idx(data, f"{stem}-labels-idx1-ubyte").astype(np.int64)


def read_cifar10(data: Path, split: str) -> LabelledImages:
    """Read CIFAR-10 from torchvision's root folder (`cifar-10-batches-py`).

    Raises:
        FileNotFoundError: If it is not there.
    """
    if not (data / "cifar-10-batches-py").is_dir():
        raise FileNotFoundError(f"{data} has no folder cifar-10-batches-py.")
    from torchvision.datasets import CIFAR10  # type: ignore[import-untyped]

    stored = CIFAR10(str(data), train=split == "train")
    return LabelledImages(
        images=list(stored.data),
        targets=np.asarray(stored.targets, dtype=np.int64),
        classes=tuple(stored.classes),
    )


_Pairs = Iterator[tuple[NDArray[np.uint8], int]]


def _read_idx(data: Path, name: str) -> NDArray[np.uint8]:
    folders = (data, data / "raw", data / "MNIST" / "raw")
    files = [folder / f"{name}{suffix}" for folder in folders for suffix in ("", ".gz")]
    existing = next((file for file in files if file.is_file()), None)
    if existing is None:
        raise FileNotFoundError(f"{data} has no {name}.")
    raw = existing.read_bytes()
    content = gzip.decompress(raw) if existing.suffix == ".gz" else raw
    n_axes = content[3]  # bytes 2 and 3 of the magic number: 8 for uint8, then the number of axes
    shape = np.frombuffer(content, dtype=">i4", count=n_axes, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * n_axes).reshape(shape).copy()


def _read_strips(strips: list[Path]) -> tuple[_Pairs, tuple[str, ...]]:
    def pairs() -> _Pairs:
        for target, strip in enumerate(strips):
            pixels = np.asarray(Image.open(strip).convert("RGB")).reshape(-1, 32, 32, 3)
            yield from ((image, target) for image in pixels)

    return pairs(), tuple(strip.stem.partition("_")[2] for strip in strips)


def _read_folders(folder: Path) -> tuple[_Pairs, tuple[str, ...]]:
    folders = sorted(path for path in folder.iterdir() if path.is_dir())

    def pairs() -> _Pairs:
        for target, of_class in enumerate(folders):
            for file in sorted(of_class.rglob("*")):
                if file.suffix.lower() in IMAGE_SUFFIXES:
                    with Image.open(file) as image:
                        yield np.asarray(image.convert("RGB")), target

    return pairs(), tuple(path.name for path in folders)


def _read_torchvision(root: Path, split: str) -> tuple[_Pairs, tuple[str, ...]]:
    from torchvision.datasets import CIFAR100

    data = CIFAR100(str(root), train=split == "train")
    pairs = ((np.asarray(image), int(k)) for image, k in zip(data.data, data.targets, strict=True))
    return pairs, tuple(data.classes)


def _read_archives(data: Path, split: str) -> tuple[_Pairs, tuple[str, ...]]:
    archives = sorted(data.glob("train*.npz" if split == "train" else "val*.npz"))

    def pairs() -> _Pairs:
        for archive in archives:
            with np.load(archive) as arrays:
                jpeg, offset, label = arrays["jpeg"], arrays["offset"], arrays["label"]
            for i, target in enumerate(label):
                file = io.BytesIO(jpeg[offset[i] : offset[i + 1]].tobytes())
                yield np.asarray(Image.open(file).convert("RGB")), int(target)

    n_classes = 1 + max(int(np.load(archive)["label"].max()) for archive in archives)
    return pairs(), tuple(str(k) for k in range(n_classes))

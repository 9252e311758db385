import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.datasets import read_digits, read_mnist, read_split


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, lossless=True)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


def test_reads_a_folder_a_class(tmp_path, pixels):
    for i, name in enumerate(("owl", "cat", "cat")):
        save(tmp_path / "val" / name / f"{i}.png", pixels[i])
    (tmp_path / "val" / "cat" / "notes.txt").write_text("no image")

    data = read_split(tmp_path, "test")

    assert data.classes == ("cat", "owl")
    assert data.targets.tolist() == [0, 0, 1]
    assert np.array_equal(data.images[2], pixels[0])


def test_reads_strips_and_takes_the_first_images_of_a_class(tmp_path, pixels):
    save(tmp_path / "train" / "00_apple.webp", pixels[:3].reshape(-1, 32, 3))
    save(tmp_path / "train" / "01_bear.webp", pixels[3:].reshape(-1, 32, 3))

    data = read_split(tmp_path, "train", per_class=2)

    assert data.classes == ("apple", "bear")
    assert data.targets.tolist() == [0, 0, 1, 1]
    assert np.array_equal(data.images[2], pixels[3])


def test_reads_joined_jpeg_files(tmp_path, pixels):
    files = []
    for image in pixels[:2]:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG")
        files.append(file.getvalue())
    offset = np.cumsum([0, *map(len, files)])
    jpeg = np.frombuffer(b"".join(files), dtype=np.uint8)
    np.savez(
        tmp_path / "train250_0.npz", jpeg=jpeg, offset=offset, label=np.array([1, 0], np.uint8)
    )

    data = read_split(tmp_path, "train")

    assert data.targets.tolist() == [1, 0]
    assert data.images[0].shape == (32, 32, 3)


@pytest.mark.parametrize("folder", ["", "raw", "MNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_reads_idx_files_packed_or_not(tmp_path, folder, packed):
    images = np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(3, 28, 28)
    contents = {
        "t10k-images-idx3-ubyte": (images, (3, 28, 28)),
        "t10k-labels-idx1-ubyte": (np.array([7, 2, 1], np.uint8), (3,)),
    }
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, (values, shape) in contents.items():
        head = bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">i4").tobytes()
        data = head + values.tobytes()
        file = tmp_path / folder / (f"{name}.gz" if packed else name)
        file.write_bytes(gzip.compress(data) if packed else data)

    found, targets = read_mnist(tmp_path, "test")

    assert np.array_equal(found, images)
    assert targets.tolist() == [7, 2, 1]
    with pytest.raises(FileNotFoundError, match="train-images"):
        read_mnist(tmp_path, "train")


def test_says_where_images_are_missing(tmp_path):
    (tmp_path / "val").mkdir()

    with pytest.raises(FileNotFoundError, match="no train images"):
        read_split(tmp_path, "train")


def test_digits_are_split_by_class_without_overlap():
    train, test = read_digits(20)

    assert np.bincount(train.targets).tolist() == [20] * 10
    assert len(train) + len(test) == 1797

import numpy as np
import pytest
import torch

from registry import samples
from tests.factories import make_learner, make_pixels, make_task
from worker.errors import PermanentTaskError
from worker.samples import load_images, read_pixels


@pytest.fixture
def rows(session, blobs):
    make_learner(session)
    return samples.task_samples(session, make_task(session, blobs).id, "train")


def test_pixels_come_back_as_they_were_sent(rows, blobs):
    assert np.array_equal(read_pixels(rows[1], blobs), make_pixels("heron", 1))


def test_images_are_preprocessed_in_order(rows, blobs, tiny_backbone):
    told = []
    images = load_images(rows, blobs, tiny_backbone, told.append)
    assert images.shape == (12, 3, 32, 32)
    assert images.dtype == torch.uint8
    for image, row in zip(images, rows, strict=True):
        assert torch.equal(image, tiny_backbone.preprocess(read_pixels(row, blobs)))
    assert told == [pytest.approx((i + 1) / 12) for i in range(12)]


@pytest.mark.parametrize("damage", ["missing", "damaged", "no image"])
def test_an_image_that_cannot_be_read(session, rows, blobs, tiny_backbone, damage):
    row = rows[3]
    path = blobs.root / "sha256" / row.blob_sha256[:2] / row.blob_sha256[2:]
    if damage == "missing":
        path.unlink()
    elif damage == "damaged":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        row.blob_sha256 = blobs.put(b"text")
    with pytest.raises(PermanentTaskError) as caught:
        load_images(rows, blobs, tiny_backbone, lambda _: None)
    assert caught.value.code == "data-unreadable"
    assert row.id in caught.value.detail

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from service.intake.png import check_png, png_is_complete
from service.intake.png_writing import write_png


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (64, 64), (375, 500), (1001, 333)])
@pytest.mark.parametrize("kind", ["noise", "plain", "ramp"])
def test_others_read_the_very_pixels(shape, kind):
    pixels = {
        "noise": np.random.default_rng(0).integers(0, 256, (*shape, 3)),
        "plain": np.full((*shape, 3), 200),
        "ramp": np.arange(3 * shape[0] * shape[1]).reshape(*shape, 3) % 256,
    }[kind].astype(np.uint8)
    data = write_png(pixels)
    assert check_png(data) == shape[::-1]
    assert png_is_complete(data)
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
    image = Image.open(io.BytesIO(data))
    assert image.mode == "RGB"
    assert not image.info
    assert np.array_equal(np.asarray(image), pixels)


def test_part_of_an_array_is_written_as_a_copy_of_it_is():
    pixels = np.asarray(load_sample_images().images[0])
    parts = [pixels[::-1], pixels[:, 10:200], pixels[::2, ::3], np.rot90(pixels)]
    assert [write_png(part) for part in parts] == [write_png(part.copy()) for part in parts]


def test_a_photo_takes_no_more_room_than_pillow_makes_of_it():
    for pixels in load_sample_images().images:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        assert len(write_png(pixels)) < 1.05 * len(buffer.getvalue())

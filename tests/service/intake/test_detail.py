"""A look at a part of an image never says otherwise than a look at all of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.intake import detail
from service.intake.detail import BLANK, LITTLE_DETAIL, detail_warning


def full_look(image, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(detail, "_shows_enough", lambda image: False)
        return detail_warning(image)


@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    levels=st.integers(1, 256),
    band=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    spread=st.integers(0, 255),
    seed=st.integers(0, 1000),
)
def test_a_part_says_what_all_says(size, levels, band, spread, seed):
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, levels, (*size, 3))
    top, bottom = sorted(round(share * size[0]) for share in band)
    pixels[top:bottom] = generator.integers(0, spread + 1, (bottom - top, size[1], 3))
    image = Image.fromarray(pixels.astype(np.uint8))
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert detail_warning(image) == full_look(image, monkeypatch)


def test_what_is_shown_in_the_middle_alone_is_enough_and_at_the_edge_is_found():
    plain = np.full((80, 80, 3), 128, dtype=np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (10, 80, 3), dtype=np.uint8)
    assert detail_warning(Image.fromarray(plain)) == BLANK
    for top in (0, 35, 70):
        part = plain.copy()
        part[top : top + 10] = noise
        assert detail_warning(Image.fromarray(part)) is None
    faint = plain + np.random.default_rng(0).integers(0, 20, plain.shape, dtype=np.uint8)
    assert detail_warning(Image.fromarray(faint)) == LITTLE_DETAIL

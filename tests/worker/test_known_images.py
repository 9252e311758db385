"""What stored images look like is kept, so that each is loaded once."""

import pytest
import torch

from models.copies import thumbnails
from registry.tables import SampleRow
from tests.factories import make_pixels
from worker.known_images import KnownImages


@pytest.fixture
def images(tiny_backbone):
    return torch.stack([tiny_backbone.preprocess(make_pixels("heron", i)) for i in range(6)])


@pytest.fixture
def load(images):
    """A function that loads images by the number in their name, and notes which."""

    def run(rows):
        run.loaded += [row.blob_sha256 for row in rows]
        return images[torch.tensor([int(row.blob_sha256) for row in rows])]

    run.loaded = []
    return run


@pytest.fixture
def known(tiny_backbone):
    return KnownImages("learner", tiny_backbone)


def rows_of(names):
    return [SampleRow(blob_sha256=name) for name in names]


def test_each_image_is_loaded_once_and_told_in_the_order_asked(known, load, images, tiny_backbone):
    known.look_up(rows_of("021"), load)
    features, small = known.look_up(rows_of("31203"), load)
    assert load.loaded == ["0", "2", "1", "3"]
    asked = images[torch.tensor([3, 1, 2, 0, 3])]
    assert torch.equal(small, thumbnails(asked))
    torch.testing.assert_close(features, tiny_backbone.embed(asked))


def test_what_was_looked_at_already_is_not_loaded(known, load, images, tiny_backbone):
    known.add(rows_of("012345"), tiny_backbone.embed(images), thumbnails(images))
    features, small = known.look_up(rows_of("52"), load)
    assert load.loaded == []
    asked = images[torch.tensor([5, 2])]
    assert torch.equal(features, tiny_backbone.embed(images)[torch.tensor([5, 2])])
    assert torch.equal(small, thumbnails(asked))


def test_what_was_asked_for_longest_ago_goes_first(known, load, monkeypatch):
    monkeypatch.setattr("worker.known_images.MOST_KEPT", 2)
    known.look_up(rows_of("01"), load)
    known.look_up(rows_of("0"), load)
    known.look_up(rows_of("2"), load)  # 1 goes
    known.look_up(rows_of("02"), load)
    assert load.loaded == ["0", "1", "2"]
    # More at once than are kept are told all the same.
    assert len(known.look_up(rows_of("345"), load)[0]) == 3


def test_an_image_that_cannot_be_loaded_is_an_error_and_leaves_nothing(known, load):
    def broken(rows):
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        known.look_up(rows_of("0"), broken)
    known.look_up(rows_of("0"), load)
    assert load.loaded == ["0"]

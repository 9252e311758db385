from datetime import UTC, datetime

import numpy as np
import pytest

from registry.errors import InvalidCursorError
from registry.paging import encode_cursor
from registry.reviews import Waiting
from service.intake.small import make_small
from service.use_cases.review_groups import place_of, put_together
from tests.factories import make_pixels


def waiting(number, pixels=None, *, known=True, features=None, usefulness=0.9, made_by="a"):
    small = None if pixels is None else make_small(pixels)
    vector = None if features is None else np.asarray(features, dtype=np.float16).tobytes()
    return Waiting(
        f"prd_{number:03}", 0, 1, [{"label": "heron", "score": 0.5}], "heron", 0.5, 0.9, known,
        None, None, None, None, usefulness, None, small, vector, made_by, datetime.now(UTC),
    )  # fmt: skip


def scene(seed, side=64):
    """Return a picture with something in it."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 255, (6, 6, 3)).astype(np.uint8)
    return np.kron(blocks, np.ones((side // 6, side // 6, 1), dtype=np.uint8))


def members(groups):
    return [sorted(int(one.prediction_id[4:]) for one in group.images) for group in groups]


def test_near_duplicates_are_folded_and_others_are_not():
    first = scene(1)
    brighter = np.clip(first * 1.06, 0, 255).astype(np.uint8)
    noisy = np.clip(first + np.random.default_rng(0).normal(0, 8, first.shape), 0, 255)
    groups = put_together(
        [
            waiting(0, first),
            waiting(1, scene(2)),
            waiting(2, brighter),
            waiting(3, noisy.astype(np.uint8)),
            waiting(4, 255 - first),
        ]
    )
    assert sorted(members(groups)) == [[0, 2, 3], [1], [4]]
    [folded] = [group for group in groups if len(group.images) == 3]
    assert (folded.head.prediction_id, folded.n_duplicates, folded.is_cluster) == (
        "prd_000",
        2,
        False,
    )


def test_plain_pictures_are_alike_only_if_they_have_the_same_colour():
    def plain(value):
        noise = np.random.default_rng(value).normal(0, 1, (32, 32, 3))
        return np.clip(value + noise, 0, 255).astype(np.uint8)

    groups = put_together([waiting(0, plain(200)), waiting(1, plain(202)), waiting(2, plain(120))])
    assert sorted(members(groups)) == [[0, 1], [2]]


def test_small_pictures_that_are_alike_are_no_duplicates_where_features_say_so():
    one, other = [1, 0], [0, 1]
    groups = put_together(
        [
            waiting(0, scene(1), features=one, known=False),
            waiting(1, scene(1), features=other, known=False),
        ]
    )
    assert sorted(members(groups)) == [[0], [1]]


def test_unknown_images_that_look_alike_are_a_cluster_and_known_ones_are_not():
    heads = np.random.default_rng(0).normal(size=(2, 64))

    def near(head, i):
        vector = heads[head] + 0.1 * np.random.default_rng(i).normal(size=64)
        return vector / np.linalg.norm(vector)

    groups = put_together(
        [
            *(waiting(i, scene(i), known=False, features=near(0, i)) for i in range(4)),
            *(waiting(i, scene(i), known=False, features=near(1, i)) for i in range(4, 7)),
            waiting(7, scene(7), known=True, features=near(0, 7)),
            waiting(8, scene(8), known=False),
        ]
    )
    assert sorted(members(groups)) == [[0, 1, 2, 3], [4, 5, 6], [7], [8]]
    # Of equally useful ones the group comes first of which a word settles most.
    assert members(groups)[0] == [0, 1, 2, 3]
    assert groups[0].is_cluster


def test_features_of_different_makers_are_not_compared():
    groups = put_together(
        [waiting(i, scene(i), known=False, features=[1, 0], made_by="ab"[i]) for i in range(2)]
    )
    assert sorted(members(groups)) == [[0], [1]]


def test_images_of_earlier_releases_stand_alone():
    assert sorted(members(put_together([waiting(0), waiting(1)]))) == [[0], [1]]


def test_the_most_useful_come_first_and_cursors_lead_on():
    groups = put_together(
        [waiting(i, make_pixels(str(i), i), usefulness=u) for i, u in enumerate((0.6, 0.99, 0.8))]
    )
    assert members(groups) == [[1], [2], [0]]
    after = place_of(groups[0].cursor)
    assert members([group for group in groups if group.place < after]) == [[2], [0]]


@pytest.mark.parametrize("values", [("a", "1", "prd_x", "0"), ("0.5", "x", "prd_x", "0")])
def test_a_made_up_cursor_is_refused(values):
    with pytest.raises(InvalidCursorError):
        place_of(encode_cursor(*values))

"""Small images of a request share their way to the threads that decode them."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from service.intake.cost import BASE_WORK
from service.intake.images import Weight
from service.intake.prediction_requests import GROUP_WORK, grouped

WEIGHTS = st.builds(Weight, st.floats(BASE_WORK, 2 * GROUP_WORK), st.floats(0, 1e8))


@given(st.lists(st.tuples(WEIGHTS, st.binary(max_size=3)), max_size=60))
def test_images_stay_in_order_and_no_group_takes_long(images):
    groups = list(grouped(images))

    assert [data for _, group in groups for data in group] == [data for _, data in images]
    left = iter(images)
    for weight, group in groups:
        mine = [next(left)[0] for _ in group]
        assert weight.n_bytes == max(one.n_bytes for one in mine)
        assert len(group) == 1 or weight.work <= GROUP_WORK
    together = [weight.work for weight, _ in groups]
    assert all(a + b > GROUP_WORK for a, b in itertools.pairwise(together))


def test_thumbnails_go_together_and_photos_hardly():
    thumbnails = [(Weight(1.1 * BASE_WORK, 1e4), b"t")] * 20
    photos = [(Weight(0.6 * GROUP_WORK, 1e6), b"p")] * 3

    sizes = [len(group) for _, group in grouped([*thumbnails, *photos, *thumbnails[:2]])]

    assert sizes == [9, 9, 3, 1, 3]

import time

import numpy as np
import pytest

from service.use_cases.review_clusters import cluster


def around(centres, each, spread, *, width=64, seed=0):
    """Return vectors of length 1 around random directions, with which direction each belongs to."""
    random = np.random.default_rng(seed)
    heads = random.normal(size=(centres, width))
    which = np.arange(centres * each) % centres
    vectors = heads[which] + spread * random.normal(size=(centres * each, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), which


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.4])
def test_each_direction_is_one_cluster_however_near_its_members_are(spread):
    vectors, which = around(12, 10, spread)
    found = cluster(vectors)
    assert sorted(row for rows in found for row in rows) == list(range(len(vectors)))
    assert all(len(set(which[rows])) == 1 for rows in found)
    assert len(found) == 12


def test_domains_of_other_scales_beside_one_another_are_cut_each_by_its_own():
    """Photos of one camera all look much alike: as one cluster they would be of no use."""
    tight, of_tight = around(5, 10, 0.02, seed=1)
    # Directions that are near to one another, as such photos are.
    tight += 3 * tight.mean(axis=0)
    tight /= np.linalg.norm(tight, axis=1, keepdims=True)
    loose, of_loose = around(5, 10, 0.5, seed=2)
    which = np.concatenate([of_tight, 10 + of_loose])
    found = cluster(np.concatenate([tight, loose]))
    assert all(len(set(which[rows])) == 1 for rows in found)
    assert len(found) <= 12


def test_what_looks_like_nothing_else_stays_alone():
    vectors, _ = around(30, 1, 0)
    assert cluster(vectors) == [[row] for row in range(30)]


def test_the_same_vectors_give_the_same_clusters_and_the_most_typical_comes_first():
    vectors, _ = around(8, 9, 0.3)
    assert cluster(vectors) == cluster(vectors.copy())
    for rows in cluster(vectors):
        likeness = vectors[rows] @ vectors[rows].sum(axis=0)
        assert likeness[0] == likeness.max()


def test_few():
    assert cluster(np.zeros((0, 4), dtype=np.float32)) == []
    assert cluster(np.ones((1, 4), dtype=np.float32)) == [[0]]


def test_equal_vectors_are_one_cluster():
    assert cluster(np.tile([[0.6, 0.8]], (5, 1)).astype(np.float32)) == [[0, 1, 2, 3, 4]]


def test_a_thousand_take_a_moment(record_property):
    vectors, _ = around(40, 25, 0.5, width=576)
    started = time.perf_counter()
    cluster(vectors)
    seconds = time.perf_counter() - started
    record_property("seconds", round(seconds, 3))
    assert seconds < 2  # 0.06 on two cores at rest

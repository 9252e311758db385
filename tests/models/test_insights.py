"""Labels that look wrong, look-alikes, near-duplicates and images that pull others wrong."""

import torch

from models.evidence import folds, weigh
from models.insights import SUSPECT_FROM, look_into
from models.leave_one_out import LeaveOneOut
from models.novelty import Scale
from models.reference import Prior
from models.shown import FeatureRecords, Shown

WIDTH = 16
PRIOR = Prior.none(WIDTH)


def features_of(n_each: int, n_classes: int = 4):
    generator = torch.Generator().manual_seed(3)
    centres = 2 * torch.randn(n_classes, WIDTH, generator=generator)
    targets = torch.arange(n_classes).repeat_interleave(n_each)
    return centres[targets] + torch.randn(len(targets), WIDTH, generator=generator), targets


def look(x, targets):
    """Look into images; rows come class after class, in the order of the images."""
    n_classes = int(targets.max()) + 1
    order = targets.argsort(stable=True)
    records = FeatureRecords.of(x, targets, n_classes, seed=0)
    shown = Shown.merged([(1, torch.arange(n_classes), records, None)], n_classes, WIDTH)
    left_out = folds(shown)
    weighed = weigh(shown, PRIOR, left_out)
    without = LeaveOneOut(shown, PRIOR, weighed.opinions)
    return look_into(shown, without, Scale._usual(), PRIOR.centre), order


def test_swapped_labels_are_suspected_the_surest_first_and_no_others():
    x, targets = features_of(12)
    taught = targets.clone()
    wrong = [0, 13, 40]
    taught[wrong] = torch.tensor([1, 2, 0])

    found, order = look(x, taught)

    suspects = order[found.suspects]
    assert set(suspects.tolist()) == set(wrong)
    assert torch.equal(found.answered[found.suspects], targets[suspects])
    strength = found.strength[found.suspects]
    assert (strength >= SUSPECT_FROM).all()
    assert (strength.diff() <= 0).all()


def test_images_rightly_labelled_are_not_suspected():
    found, _ = look(*features_of(12))
    assert len(found.suspects) == 0
    assert (found.own_score > 0.5).float().mean() > 0.9


def test_of_a_class_of_two_images_nobody_says_that_one_does_not_belong():
    x, targets = features_of(12)
    x = torch.cat([x, x[:1], x[30:31]])
    taught = torch.cat([targets, torch.tensor([4, 4])])
    found, order = look(x, taught)
    assert not set(order[found.suspects].tolist()) & {48, 49}


def test_the_nearest_of_another_class_and_pairs_are_found():
    x, targets = features_of(6)
    x[7] = x[0] + 0.01  # of class 1, and hardly anything but the first of class 0
    x[13] = x[12] + 0.01  # of the same class
    found, order = look(x, targets)
    row = {image: r for r, image in enumerate(order.tolist())}

    assert int(found.look_alike[row[7]]) == row[0]
    assert float(found.look_alike_cosine[row[7]]) > 0.99
    nearest = {tuple(sorted(pair)) for pair in found.pairs[:2].tolist()}
    assert nearest == {tuple(sorted((row[0], row[7]))), tuple(sorted((row[12], row[13])))}
    assert (found.pair_cosines.diff() <= 0).all()


def test_of_many_alike_the_nearest_are_kept_wherever_they_are(monkeypatch):
    x, targets = features_of(12)
    x += 8  # so that all of them are alike
    every, _ = look(x, targets)
    monkeypatch.setattr("models.insights.MOST_PAIRS", 5)
    monkeypatch.setattr("models.insights._AT_ONCE", 7)
    few, _ = look(x, targets)
    assert len(every.pairs) > 100
    assert few.pairs.tolist() == every.pairs[:5].tolist()
    assert torch.allclose(few.pair_cosines, every.pair_cosines[:5])


def test_an_image_far_off_in_its_class_pulls_others_of_it_wrong():
    """Of two classes nearby, one has few images, and one of them lies beyond the other class."""
    generator = torch.Generator().manual_seed(0)
    near = torch.randn(WIDTH, generator=generator)
    x = torch.randn(24, WIDTH, generator=generator) * 0.3
    x[:12] += near
    x[12:] -= near
    x[0] = -12 * near
    targets = torch.arange(2).repeat_interleave(12)

    found, order = look(x, targets)

    assert 0 in order[torch.tensor(list(found.pulled))].tolist()
    [row] = [r for r in found.pulled if order[r] == 0]
    for mended in found.pulled[row]:
        assert found.answered[mended] != targets[order[mended]]

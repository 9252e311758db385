import pytest
import torch

from models.copies import thumbnails
from models.harm import find_harm
from models.screening import (
    LabelledFeatures,
    agreement,
    choose_suspects,
    estimate_noise,
    judge,
    screen,
)

WIDTH = 32


def clusters(n_classes, n, *, distance=1.5, seed=0, centres_seed=0):
    """Return features of classes that lie around centres of their own, and their targets."""
    centres = distance * torch.randn(
        n_classes, WIDTH, generator=torch.Generator().manual_seed(centres_seed)
    )
    targets = torch.arange(n_classes).repeat_interleave(n)
    noise = torch.randn(len(targets), WIDTH, generator=torch.Generator().manual_seed(seed + 1))
    return centres[targets] + noise, targets


def shuffled(targets, share, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(targets), generator=generator)[: round(share * len(targets))]
    changed = targets.clone()
    changed[rows] = targets[rows[torch.randperm(len(rows), generator=generator)]]
    return changed


def labelled(features, targets, images=None, name="new"):
    labels = tuple(f"{name} {k}" for k in targets.tolist())
    return LabelledFeatures(features, labels, None if images is None else thumbnails(images))


def holding(findings):
    return [finding.code for finding in findings if finding.holds]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n_classes", "n"), [(2, 5), (2, 30), (5, 5), (5, 20), (10, 10), (20, 20)])
def test_an_honest_batch_is_not_held(n_classes, n, seed):
    features, targets = clusters(n_classes, n, seed=seed, centres_seed=seed)
    assert holding(screen(labelled(features, targets))) == []


@pytest.mark.parametrize("seed", range(5))
def test_an_honest_batch_of_classes_that_are_hard_to_tell_is_not_held(seed):
    features, targets = clusters(5, 30, distance=0.3, seed=seed, centres_seed=seed)
    findings = screen(labelled(features, targets))
    assert holding(findings) == []
    above, _ = agreement(judge(features, targets, 5), targets)
    assert 0.2 < above < 0.8


@pytest.mark.parametrize(("share", "least"), [(1.0, None), (0.5, 0.02), (0.25, 0.02)])
def test_shuffled_labels_are_found(share, least):
    features, targets = clusters(10, 20)
    [finding] = [f for f in screen(labelled(features, shuffled(targets, share))) if not f.classes]
    assert (finding.code, finding.holds) == ("labels-disagree", True)
    if least is None:
        assert finding.numbers["agreement"] < 0.1
    else:
        assert least <= finding.numbers["share_at_least"] <= finding.numbers["share"]
        assert finding.numbers["share"] == pytest.approx(share, abs=0.1)


def test_few_images_prove_nothing():
    features, targets = clusters(2, 9)
    assert screen(labelled(features, shuffled(targets, 1.0))) == []


def test_a_single_class_has_nothing_to_disagree_with():
    features, targets = clusters(1, 40)
    assert screen(labelled(features, targets)) == []


def test_features_that_are_not_finite_are_no_evidence():
    features, targets = clusters(5, 20)
    features[3] = float("nan")
    assert screen(labelled(features, shuffled(targets, 1.0))) == []


def test_a_class_filled_from_the_others_is_named():
    features, targets = clusters(6, 30)
    source, _ = clusters(6, 30, seed=9)
    features[targets == 5] = source[
        torch.randperm(150, generator=torch.Generator().manual_seed(0))[:30]
    ]
    [finding] = [f for f in screen(labelled(features, targets)) if f.holds]
    assert (finding.code, finding.classes) == ("labels-disagree", ["new 5"])


def test_one_class_under_two_names_is_found():
    features, targets = clusters(4, 80)
    again, _ = clusters(4, 80, seed=9)
    features[targets == 3] = again[targets == 0]
    [finding] = [f for f in screen(labelled(features, targets)) if f.holds]
    assert (finding.code, finding.classes) == ("classes-alike", ["new 0", "new 3"])


def test_a_known_class_under_a_new_name_is_found():
    features, targets = clusters(4, 50)
    known, known_targets = clusters(4, 60, centres_seed=7, seed=3)
    again, again_targets = clusters(4, 50, centres_seed=7, seed=4)
    features[targets == 3] = again[again_targets == 2]
    learned = labelled(known, known_targets, name="old")
    [finding] = [f for f in screen(labelled(features, targets), learned) if f.holds]
    assert (finding.code, finding.classes) == ("resembles-known", ["new 3"])
    assert "old 2" in finding.detail


def test_more_of_a_known_class_may_look_like_it():
    features, targets = clusters(4, 50)
    more, _ = clusters(4, 50, seed=5)
    assert holding(screen(labelled(more, targets), labelled(features, targets))) == []


def pictures(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (n, 3, 4, 4), generator=generator).float()
    fine = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")
    return fine.to(torch.uint8)


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_copies_under_another_label_are_found(is_mirrored):
    features, targets = clusters(3, 20)
    images = pictures(60)
    generator = torch.Generator().manual_seed(1)
    copies = images[:8].float() + 6 * torch.randn(images[:8].shape, generator=generator)
    copies = copies.clamp(0, 255).to(torch.uint8)
    images[targets == 2] = torch.cat([copies.flip(-1) if is_mirrored else copies, images[48:]])
    found = {f.classes[0]: f for f in screen(labelled(features, targets, images)) if f.holds}
    assert found["new 2"].code == "copies"
    assert found["new 2"].numbers == {"copies": 8.0, "share": 0.4}
    assert "new 0" in found["new 2"].detail


def test_copies_of_stored_images_are_found_and_those_of_the_same_class_are_not():
    features, targets = clusters(2, 20)
    images = pictures(40)
    known = labelled(features[:20], targets[:20], images[:20], name="old")
    batch = labelled(features, targets, images)
    assert [f.classes for f in screen(batch, known) if f.code == "copies"] == [["new 0"]]
    same = labelled(features[:20], targets[:20], images[:20])
    assert [f for f in screen(batch, same) if f.code == "copies"] == []


def test_images_that_all_look_alike_are_no_copies():
    features, targets = clusters(3, 20)
    noise = 4 * torch.randn(60, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    images = (pictures(1).float() + noise).clamp(0, 255).to(torch.uint8)
    assert screen(labelled(features, targets, images)) == []


def test_a_flooded_class_is_mentioned_and_not_held():
    features, targets = clusters(4, 100)
    keep = (targets == 0) | (torch.arange(400) % 20 == 0)
    [finding] = screen(labelled(features[keep], targets[keep]))
    assert (finding.code, finding.holds, finding.classes) == ("flooded", False, ["new 0"])


def test_noise_is_told_from_difficulty():
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(5).repeat(100)
    hot = torch.nn.functional.one_hot(targets, 5).double()
    hard = 0.5 * hot + torch.randn(500, 5, generator=generator, dtype=torch.float64)
    assert estimate_noise(hard, targets).at_least == 0
    clear = 5 * hot + torch.randn(500, 5, generator=generator, dtype=torch.float64)
    noise = estimate_noise(clear, shuffled(targets, 0.3))
    assert 0.15 < noise.at_least < noise.share == pytest.approx(0.3, abs=0.06)


def test_judging_leaves_each_image_out():
    features, targets = clusters(3, 10)
    scores = judge(features, targets, 3)
    changed = targets.clone()
    changed[0] = 2
    # With equal shares, an image's own label has no say in its own scores.
    share = torch.bincount(targets, minlength=3) / 30
    changed_share = torch.bincount(changed, minlength=3) / 30
    assert torch.allclose(scores[0] * share, judge(features, changed, 3)[0] * changed_share)


def test_suspects_are_known_classes_that_the_batch_is_taken_for():
    answers = torch.tensor([0] * 9 + [1] + [2] * 10)
    labels = ["a"] * 10 + ["owl"] * 10
    # 1 of 10 is enough to look; an owl may be taken for an owl.
    assert choose_suspects(answers, labels, ["heron", "egret", "owl"]) == ["heron", "egret"]


def counts(**right):
    return {label: {label: n, "other": 20 - n} for label, n in right.items()}


def test_harm_to_one_class_is_found_and_named():
    before = counts(heron=18, egret=18, crane=18)
    [finding] = find_harm(before, counts(heron=18, egret=2, crane=17))
    assert (finding.code, finding.holds, finding.classes) == ("harms-known", True, ["egret"])
    assert "egret" in finding.detail
    [mentioned] = find_harm(before, counts(heron=18, egret=2, crane=17), holds=False)
    assert not mentioned.holds


def test_harm_to_all_is_found():
    before = counts(**{f"c{k}": 18 for k in range(10)})
    [finding] = find_harm(before, counts(**{f"c{k}": 13 for k in range(10)}))
    assert (finding.numbers["accuracy_before"], finding.numbers["accuracy_after"]) == (0.9, 0.65)
    assert finding.classes == []


def test_what_honest_batches_cost_is_no_harm():
    before = counts(heron=18, egret=15, crane=18)
    assert find_harm(before, counts(heron=17, egret=10, crane=18)) == []
    assert find_harm({}, before) == []
    # Images were deleted since: nothing can be compared.
    assert find_harm({"heron": {"heron": 40}}, {"heron": {"other": 20}}) == []
    # One image of one proves nothing.
    assert find_harm({"heron": {"heron": 1}}, {"heron": {"other": 1}}) == []

"""More images than one request may hold, with both clients against the real app over real HTTP."""

import pytest

from service.client import Filopodia, LabelledImage, ProblemError
from tests.factories import make_image
from tests.served import served
from tests.service.intake.weighing import work
from tests.waiting import wait_until

PHOTOS = [(f"{i}.png", make_image("heron", i, size=200)) for i in range(11)]
HUGE = ("huge.png", make_image("heron", 1, size=480))
BROKEN = ("broken.png", make_image("heron")[:200])


@pytest.fixture
def settings(settings):
    """A service that decodes three of the photos at a time, and not the huge one."""
    most = 3.5 * max(work(data) for _, data in PHOTOS)
    assert work(HUGE[1]) > most
    limits = {"max_predict_images": 8, "max_predict_pixels": int(most)}
    return settings.model_copy(update=limits)


@pytest.fixture
def birds(app, role_keys, learn, connect):
    """A client of either kind, of a service whose learner knows herons and egrets."""
    with served(app) as url:
        with Filopodia(url, role_keys["trainer"]) as trainer:
            trainer.create_learner("birds", strategy="simplecil", backbone="tiny")
            images = [
                LabelledImage(make_image(label, i), label)
                for label in ("heron", "egret")
                for i in range(6)
            ]
            learn(trainer.learn_images("birds", images).id)
        yield connect(url, role_keys["predictor"])


def is_stored(client, prediction_id):
    try:
        client.prediction(prediction_id)
    except ProblemError as problem:
        if problem.code != "prediction-not-found":
            raise
        return False
    return True


def test_every_image_is_answered_in_its_place(birds):
    sizes = []
    results = birds.predict_all(
        "birds",
        [*PHOTOS, BROKEN],
        min_version=1,
        top_k=1,
        on_part=lambda part: sizes.append(len(part.results)),
    )
    assert [item["filename"] for item in results] == [name for name, _ in [*PHOTOS, BROKEN]]
    assert [item.get("label") for item in results] == ["heron"] * 11 + [None]
    assert results[-1]["problem"]["code"].startswith("image-")
    # Twelve are too many images, six and, but for the broken one, three too many pixels.
    assert sizes == [3, 3, 3, 3]
    assert len({item["prediction"] for item in results}) == 4
    assert {item["version"] for item in results} == {1}
    sixth = results[5]
    # A service that is very busy stores an answer later than it lets a reader wait.
    wait_until(lambda: is_stored(birds, sixth["prediction"]))
    birds.give_feedback(sixth["prediction"], "owl", index=sixth["index"])
    assert [said["label"] for said in birds.feedback("birds")] == ["owl"]


def test_one_that_is_too_much_alone_is_refused_in_words_and_the_others_are_answered(birds):
    results = birds.predict_all("birds", [PHOTOS[0], HUGE, PHOTOS[1], BROKEN], min_version=1)
    assert [item.get("label") for item in results] == ["heron", None, "heron", None]
    assert results[1]["problem"]["code"] == "too-many-pixels"
    assert "or smaller ones" in results[1]["problem"]["detail"]
    assert (results[1]["prediction"], results[1]["version"]) == (None, None)
    with pytest.raises(ProblemError, match="or smaller ones"):
        birds.predict("birds", [HUGE], min_version=1)


def test_another_refusal_is_raised_and_what_was_answered_before_is_told(birds):
    answered = []
    with pytest.raises(ProblemError) as caught:
        birds.predict_all("nobody", PHOTOS, on_part=answered.append)
    assert (caught.value.code, answered) == ("learner-not-found", [])


@pytest.mark.parametrize(("images", "error"), [([], ValueError), (["a.png"], TypeError)])
def test_what_is_no_image_is_said_before_anything_is_sent(birds, images, error):
    with pytest.raises(error):
        birds.predict_all("birds", images)

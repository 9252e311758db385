"""A learner's images have one form for good, wherever they come in and go out."""

import io
import json

import onnxruntime
import pytest
from PIL import Image
from sqlalchemy import select, update

from registry.tables import LearnerRow
from service.intake.forms import HALVED, RESAMPLED
from service.intake.images import ImageLimits, decode_image
from service.use_cases.bundle_files import HEAD
from tests.factories import make_pixels
from tests.service.api import predict, version_of
from tests.service.routes.forged_bundles import members_of
from tests.waiting import wait_until

LIMITS = ImageLimits(48 * 1024 * 1024, 100_000_000)
FORMS = {288: HALVED, None: RESAMPLED}


def photo(label, index):
    """Return a JPEG of 1000 x 750 pixels of a class."""
    image = Image.fromarray(make_pixels(label, index, 32)).resize((1000, 750))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


PHOTOS = {f"{label}/{i}.jpg": photo(label, i) for label in ("heron", "egret") for i in range(6)}


def upload(client, learner="birds", **options):
    files = [("images", (name, data, "image/jpeg")) for name, data in PHOTOS.items()]
    return client.post(f"/v1/learners/{learner}/tasks", files=files, data=options)


@pytest.fixture(params=FORMS, ids=["halved", "resampled"])
def form(request, client, birds, app, learn):
    """The form of a learner that has learned photos; None is one from before there was another."""
    with app.state.context.session_factory.begin() as session:
        assert session.scalar(select(LearnerRow.halved_to)) == 288
        session.execute(update(LearnerRow).values(halved_to=request.param))
    learn(upload(client).json()["id"])
    wait_until(lambda: version_of(client, birds) == 1)
    return FORMS[request.param]


def stored(client, learner="birds"):
    """Return the stored image of each sample by its file's name."""
    [task] = client.get(f"/v1/learners/{learner}/tasks").json()["items"]
    samples = client.get(f"/v1/tasks/{task['id']}/samples?limit=100").json()["items"]
    return {
        f"{sample['label']}/{sample['filename']}": client.get(
            f"/v1/samples/{sample['id']}/image"
        ).content
        for sample in samples
    }


def test_what_is_learned_predicted_and_kept_is_the_same_image(client, form):
    expected = {name: decode_image(data, LIMITS, form) for name, data in PHOTOS.items()}
    assert stored(client) == {name: image.to_png() for name, image in expected.items()}

    prediction, _ = predict(client, *PHOTOS.values())
    wait_until(lambda: client.get(f"/v1/predictions/{prediction}").status_code == 200)
    for i, image in enumerate(expected.values()):
        kept = client.get(f"/v1/predictions/{prediction}/images/{i}").content
        assert kept == image.to_png()


def test_images_that_are_there_are_known_again(client, form):
    answer = upload(client, mode="extend")
    assert answer.status_code == 422, answer.text
    as_png = [
        ("images", (name, decode_image(data, LIMITS, form).to_png(), "image/png"))
        for name, data in PHOTOS.items()
    ]
    again = client.post("/v1/learners/birds/tasks", files=as_png, data={"mode": "extend"})
    assert again.json()["code"] == answer.json()["code"]


def test_a_bundle_and_an_onnx_file_take_the_form_along(client, form, role_keys, app):
    path = "/v1/learners/birds/versions/1"
    bundle = client.get(f"{path}/bundle").content
    said = json.loads(members_of(bundle)[HEAD])["learner"]
    assert said.get("halved_to") == form.halved_to

    answer = client.post(
        "/v1/learners/import?name=waders",
        content=bundle,
        headers={"Content-Type": "application/x-tar"},
    )
    assert answer.status_code == 201, answer.text
    with app.state.context.session_factory() as session:
        query = select(LearnerRow.halved_to).where(LearnerRow.name == "waders")
        assert session.scalar(query) == form.halved_to
    wait_until(lambda: version_of(client, "waders") == 1)
    for data in PHOTOS.values():
        here, there = (predict(client, data, learner=n)[1][0] for n in ("birds", "waders"))
        assert here["score"] == there["score"]

    model = onnxruntime.InferenceSession(client.get(f"{path}/export").content)
    how = json.loads(model.get_modelmeta().custom_metadata_map["preprocessing"])
    assert how.get("halve_side") == form.halved_to
    assert how.get("shrink_side") == (384 if form is RESAMPLED else None)


def test_answers_come_from_the_learners_own_form(client, form, app):
    snapshot = app.state.context.store.live("birds")
    name = "heron/3.jpg"

    def score(form):
        seen = decode_image(PHOTOS[name], LIMITS, form).pixels
        answer = snapshot.strategy.predict(snapshot.backbone.preprocess(seen)[None])
        return float(answer.probabilities.max())

    [result] = predict(client, PHOTOS[name])[1]
    [other] = (one for one in FORMS.values() if one != form)
    assert abs(result["score"] - score(form)) < abs(result["score"] - score(other)) / 5

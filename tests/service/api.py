"""What tests ask of the API again and again."""

from fastapi.testclient import TestClient

from tests.factories import make_image


def image_files(labels: tuple[str, ...], n: int = 6) -> list[tuple[str, tuple[str, bytes, str]]]:
    """Return multipart files `label/0.png ...`, n of each label."""
    return [
        ("images", (f"{label}/{i}.png", make_image(label, i), "image/png"))
        for label in labels
        for i in range(n)
    ]


def version_of(client: TestClient, learner: str) -> int | None:
    """Return the version that answers a prediction."""
    answer = client.post(
        f"/v1/learners/{learner}/predictions?store=false",
        content=make_image("heron", 99),
        headers={"Content-Type": "image/png"},
    )
    return answer.json().get("version")


def predict(client, *images, learner="birds", **params):
    """Return the id of a prediction and its results."""
    files = [("images", (f"{i}.png", image, "image/png")) for i, image in enumerate(images)]
    answer = client.post(f"/v1/learners/{learner}/predictions", files=files, params=params)
    assert answer.status_code in (200, 207), answer.text
    return answer.json()["id"], answer.json()["results"]


def give(client, prediction_id, label, index=0):
    return client.post(
        f"/v1/predictions/{prediction_id}/feedback", json={"index": index, "label": label}
    )


def learn_feedback(client, learner="birds", **options):
    body = {"options": {"from_feedback": True, **options}}
    return client.post(f"/v1/learners/{learner}/tasks", json=body)


def pending(client, learner="birds"):
    return client.get(f"/v1/learners/{learner}/feedback?pending=true").json()["items"]

"""What a user of a service does, and how the service is set for it."""

from service.client import LabelledImage
from tests.factories import make_image

SETTINGS = {
    "FILOPODIA_TORCH_THREADS": "1",
    "FILOPODIA_LEASE_S": "5",
    "FILOPODIA_MIN_FREE_BYTES": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
}
N_TRAIN, N_EVAL = 12, 4
LONG = {"epochs": 60}
"""Long enough to be killed in the middle, on any machine."""


def images(*labels, n_train=N_TRAIN):
    return [
        LabelledImage(make_image(label, i), label, "train" if i < n_train else "eval")
        for label in labels
        for i in range(n_train + N_EVAL)
    ]


def unseen(*labels):
    return [(f"{label}.png", make_image(label, 1000)) for label in labels]


def learn(client, name, *labels):
    task = client.follow_task(client.learn_images(name, images(*labels))["id"])
    assert task["status"] == "succeeded", task
    return task


def answers(client, name, *labels):
    """Everything about the answers but how long they took."""
    published = client.learner(name)["live_version"]
    prediction = client.predict(name, unseen(*labels), top_k=100, min_version=published)
    return prediction["version"], prediction["results"]

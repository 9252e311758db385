"""The client against the real app over real HTTP, where a script could be wrong about the service."""

from service.app import create_app
from service.cli.demo_process import free_port
from service.client import Filopodia, LabelledImage, Retries
from tests.factories import make_image
from tests.served import served

PATIENT = Retries(first_pause_s=0.05, longest_pause_s=0.1)


def test_events_go_on_where_they_were_when_the_service_restarts(
    settings, session_factory, blobs, role_keys, learn
):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    images = [LabelledImage(make_image(label, i), label) for label in "ab" for i in range(4)]
    with Filopodia(url, role_keys["trainer"], retries=PATIENT) as filopodia:
        with served(create_app(settings, session_factory, blobs), port):
            filopodia.create_learner("birds", strategy="simplecil", backbone="tiny")
            task = filopodia.learn_images("birds", images)
            events = task.events()
            seen = [next(events)]
        learn(task.id)  # while nobody listens
        with served(create_app(settings, session_factory, blobs), port):
            seen += events
            assert task.wait(timeout_s=10).status == "succeeded"
            told = filopodia.past_events(task.id)
            assert [event["type"] for event in seen[:2]] == ["queued", "started"]
            assert seen[-1]["data"]["status"] == "succeeded"
            assert [(e["seq"], e["type"], e["data"]) for e in seen] == [
                (e["seq"], e["type"], e["data"]) for e in told
            ]
            assert list(task.events(after=seen[-1]["seq"])) == []

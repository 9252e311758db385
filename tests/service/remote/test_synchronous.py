"""The client against the real app over real HTTP, where a script could be wrong about the service."""

from time import monotonic

from service.app import create_app
from service.cli.local.demo_process import free_port
from service.client import Filopodia, LabelledImage, ProblemError, Retries
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
            assert task.wait().status == "succeeded"
            events_before = filopodia.past_events(task.id)
            assert [event["type"] for event in seen[:2]] == ["queued", "started"]
            assert seen[-1]["data"]["status"] == "succeeded"
            assert [(e["seq"], e["type"], e["data"]) for e in seen] == [
                (e["seq"], e["type"], e["data"]) for e in events_before
            ]
            assert list(task.events(after=seen[-1]["seq"])) == []


def test_a_client_that_is_too_fast_waits_as_long_as_it_is_told(
    settings, session_factory, blobs, role_keys
):
    """A key with 60 changes a minute gets one back every second."""
    app = create_app(settings, session_factory, blobs)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with served(app, port), Filopodia(url, role_keys["admin"]) as admin:
        admin.create_learner("birds", strategy="simplecil", backbone="tiny")
        quotas = {"changes_per_minute": 60}
        key = admin.create_key("fast", "trainer", learners=["birds"], quotas=quotas)
        with (
            Filopodia(url, key["key"], retries=PATIENT) as patient,
            Filopodia(url, key["key"], retries=Retries(most=0)) as hasty,
        ):
            refused = None
            while refused is None:
                try:
                    hasty.update_learner("birds", {})
                except ProblemError as error:
                    refused = error
            assert (refused.status, refused.code, refused.retry_after_s) == (429, "rate-limited", 1)
            started = monotonic()
            assert patient.update_learner("birds", {"seen": True})["metadata"] == {"seen": True}
            assert monotonic() - started >= 1
            assert [learner["name"] for learner in patient.learners()] == ["birds"]

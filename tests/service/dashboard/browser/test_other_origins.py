"""A page of another origin in a real browser: it predicts with a key where that is set, and nowhere else."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.app import create_app
from service.client import Filopodia, LabelledImage
from tests.factories import make_image
from tests.served import learning, served
from tests.service.dashboard.browser.chromium import EXECUTABLE
from tests.waiting import PACE
from worker.settings import WorkerSettings

SCRIPT = """
window.outcome = null;
fetch("{url}/v1/learners/birds/predictions?store=false", {{
  method: "POST",
  headers: {{ Authorization: "Bearer {key}", "Content-Type": "image/png" }},
  body: Uint8Array.from(atob("{image}"), (letter) => letter.charCodeAt(0)),
}}).then(async (answer) => {{
  const body = await answer.json();
  const found = body.code || body.results[0].label;
  window.outcome = [answer.status, found, answer.headers.get("X-Request-Id").slice(0, 4)].join(" ");
}}, (error) => {{ window.outcome = String(error); }});
"""


class Page(BaseHTTPRequestHandler):
    """An empty page, for scripts of tests to run in."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Where a page of another origin is."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.browser
@pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine")
@pytest.mark.parametrize("is_open", [True, False])
def test_a_page_of_another_origin_predicts_where_that_is_set(
    chromium, settings, session_factory, blobs, database_url, role_keys, elsewhere, is_open
):
    origins = (elsewhere,) if is_open else ("https://friend.example",)
    app = create_app(settings.model_copy(update={"cors_origins": origins}), session_factory, blobs)
    worker = WorkerSettings(data_dir=settings.data_dir, database_url=database_url, device="cpu")
    with (
        served(app) as url,
        learning(session_factory, blobs, worker),
        Filopodia(url, role_keys["admin"]) as client,
    ):
        client.create_learner("birds", strategy="simplecil", backbone="tiny")
        images = [
            LabelledImage(make_image(label, i), label)
            for label in ("heron", "egret")
            for i in range(6)
        ]
        assert client.learn_images("birds", images).wait(PACE.scaled(60))["status"] == "succeeded"
        client.predict("birds", [("a.png", make_image("heron", 50))], min_version=1)
        chromium.open(f"{elsewhere}/{is_open}")

        def ask(key: str) -> str:
            image = base64.b64encode(make_image("heron", 50)).decode()
            chromium.evaluate(SCRIPT.format(url=url, key=key, image=image))
            chromium.wait_until("window.outcome !== null")
            return chromium.evaluate("window.outcome")

        if is_open:
            assert ask(role_keys["predictor"]) == "200 heron req_"
            assert ask("fil_wrong") == "401 unauthorized req_"
        else:
            assert ask(role_keys["predictor"]) == "TypeError: Failed to fetch"
        chromium.messages.clear()

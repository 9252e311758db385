"""Predictions over HTTP are measured of real services, and failures are counted."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from benchmarks.sections.serving import served
from benchmarks.serving import __main__ as command
from benchmarks.serving.__main__ import SIZES, Target, main, photo
from benchmarks.serving.clients import ask


@pytest.mark.slow
def test_every_server_is_asked_and_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    out = tmp_path / "serving.json"
    options = "--backbone tiny --clients 2 --rounds 1 --seconds 0.5"

    assert main([*options.split(), "--images", "64 px", "1000 x 750", "--out", str(out)]) == 0

    assert "LitServe is not installed" in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert [row["images"] for row in report["rows"]] == ["64 px", "1000 x 750"]
    for row in report["rows"]:
        for server in ("ours", "no store", "pytorch"):
            assert row[server]["images_per_s"] > 0
            assert row[server]["n_failed"] == 0
        assert row["ours / pytorch"] == pytest.approx(
            row["ours"]["images_per_s"] / row["pytorch"]["images_per_s"], abs=0.01
        )
    shown = "\n".join(served("serving", report).text)
    assert "Requests that failed: none" in shown
    assert "ours / pytorch" in shown
    assert "litserve" not in shown.partition("| images")[2]


@pytest.mark.parametrize("size", list(SIZES.values()))
def test_images_are_as_large_as_they_are_called(size):
    assert Image.open(io.BytesIO(photo(*size))).size == size


class Refusing(BaseHTTPRequestHandler):
    """Refuses every other request."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).asked += 1
        self.send_response(200 if self.asked % 2 else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *more):
        pass


def test_what_is_refused_is_no_answer():
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        target = Target(server.server_address[1], "/", {}, part="image")
        request = target.request(b"picture")
        body = request.pop("body").encode()
        seen = ask(body=body, n_clients=1, seconds=0.5, **request)
        server.shutdown()

    assert seen.n_failed >= 1
    assert abs(Refusing.asked - seen.n_failed - round(seen.images_per_s * 0.5)) <= 2

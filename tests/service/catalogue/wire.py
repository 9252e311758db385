"""A real service on a socket, and the ways in which rows of the catalogue talk to it."""

import json
import socket
from collections.abc import Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from time import sleep

import httpx
from fastapi import FastAPI

from registry.postgres.database import make_engine
from service.cli.local.demo_process import free_port
from tests.factories import make_image
from tests.waiting import PACE

MARKER = "xyzzy-canary"
"""Planted in what is sent and refused: it must come back nowhere."""
CLOSED = 0
"""The status of an answer that never came, because the service closed the connection."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    body: bytes = b""

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)


class Wire:
    """One client of one service."""

    def __init__(self, port: int, keys: dict[str, str], app: FastAPI, taught: str) -> None:
        self.address = ("127.0.0.1", port)
        self.keys = keys
        self.app = app
        self.taught = taught
        """A learner that knows `heron` and `egret` and is served."""
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PACE.scaled(30))
        self._numbers = count()
        self.n_tasks = 0
        """Tasks that were accepted."""

    def close(self):
        self._client.close()

    @property
    def predictions(self):
        return f"/v1/learners/{self.taught}/predictions"

    def send(self, method, path, *, role="admin", headers=None, **body):
        """Send one request as an ordinary client would."""
        headers = {**self.auth(role), **(headers or {})}
        found = self._client.request(method, path, headers=headers, **body)
        self._client.cookies.clear()
        is_task = method == "POST" and path.split("?")[0].endswith("/tasks")
        self.n_tasks += is_task and found.status_code == httpx.codes.ACCEPTED
        return Answer(found.status_code, found.headers, found.content)

    def auth(self, role="admin"):
        return {} if role is None else {"Authorization": f"Bearer {self.keys[role]}"}

    def json(self, method, path, body, **options):
        """Send bytes as JSON, or an object encoded."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return self.send(method, path, content=content, headers=headers, **options)

    def predict(self, data, kind="image/png", query="?store=false", **options):
        """Predict one raw image."""
        headers = {"Content-Type": kind, **options.pop("headers", {})}
        return self.send("POST", self.predictions + query, content=data, headers=headers, **options)

    def predict_form(self, body, kind):
        return self.send("POST", self.predictions, content=body, headers={"Content-Type": kind})

    def new_learner(self):
        """Make a learner that knows nothing."""
        name = f"row-{next(self._numbers)}"
        body = {"name": name, "strategy": "simplecil", "backbone": "tiny"}
        answer = self.json("POST", "/v1/learners", body)
        assert answer.status == 201, answer.text
        return name

    def upload(self, *images, query="", **options):
        """Teach a new learner one class, of four good images and these."""
        good = [make_image("heron", i) for i in range(4)]
        files = [
            ("images", (f"{i}.png", data, "image/png")) for i, data in enumerate([*good, *images])
        ]
        path = f"/v1/learners/{self.new_learner()}/tasks{query}"
        return self.send("POST", path, files=files, data={"labels": "heron"}, **options)

    def upload_to(self, learner, label="heron", n=3):
        """Teach a learner one class."""
        files = [("images", (f"{label}/{i}.png", make_image(label, i))) for i in range(n)]
        return self.send("POST", f"/v1/learners/{learner}/tasks", files=files)

    @contextmanager
    def changed(self, target, name, value):
        """Change an attribute of the running service for a moment."""
        before = getattr(target, name)
        object.__setattr__(target, name, value)
        try:
            yield
        finally:
            object.__setattr__(target, name, before)

    @contextmanager
    def without_database(self):
        """Let the service look for its database where nothing listens."""
        sessions = self.app.state.context.session_factory
        bound = sessions.kw["bind"]
        nowhere = make_engine(f"postgresql://x@127.0.0.1:{free_port()}/x", application_name="x")
        sessions.configure(bind=nowhere)
        try:
            yield
        finally:
            sessions.configure(bind=bound)
            nowhere.dispose()

    def upload_form(self, body, kind, learner=None):
        """Send a body of our own making as the form of a task."""
        path = f"/v1/learners/{learner or self.new_learner()}/tasks"
        return self.send("POST", path, content=body, headers={"Content-Type": kind})

    def raw(self, *pieces: bytes, pause_s=0.0, repeat: Iterable[bytes] = ()):
        """Send bytes as they are and return what the service says before it closes or has said all."""
        with socket.create_connection(self.address, timeout=PACE.scaled(15)) as connection:
            with suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
                for piece in pieces:
                    connection.sendall(piece)
                    sleep(pause_s)
                for piece in repeat:
                    connection.sendall(piece)
                    sleep(pause_s)
            return read_answer(connection)

    def head(self, path, *lines, method="POST", role="admin", host="127.0.0.1"):
        """Return the head of a request, without the empty line that ends it."""
        all_lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
        all_lines += [f"{name}: {value}" for name, value in self.auth(role).items()]
        return "\r\n".join([*all_lines, *lines, ""]).encode("latin-1")


def read_answer(connection: socket.socket) -> Answer:
    """Read one answer off a socket."""
    data = b""
    with suppress(ConnectionResetError):
        while not _is_whole(data):
            more = connection.recv(65_536)
            if not more:
                break
            data += more
    if b"\r\n\r\n" not in data:
        return Answer(CLOSED, body=data)
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = httpx.Headers([tuple(line.split(": ", 1)) for line in lines])
    return Answer(int(status.split()[1]), headers, body)


def _is_whole(data):
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return False

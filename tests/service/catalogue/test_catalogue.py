"""The catalogue of bad input, row by row, against a real server on a socket.

Whatever comes in, the answer is what the table says, in problem details, and nothing of the inside or of the input gets
out, not into the answer and not into the log. After the whole table the service is as it was before.
"""

import logging
import tempfile
import threading
from pathlib import Path

import httpx
import pytest
import structlog
import uvicorn
from sqlalchemy import delete, func, select

from registry import keys, queue
from registry.blobs.store import LocalBlobStore
from registry.postgres.database import make_session_factory
from registry.tables import ROLES, IdempotencyRow, KeyRow, LearnerRow, TaskRow, WorkerRow
from service.app import create_app
from service.http.connections import Connections
from service.listening import listening
from service.problems import PROBLEMS
from service.server import server_config
from service.settings import ServiceSettings
from tests.factories import make_image
from tests.service.catalogue import access, artifacts, connections, documents, forms, images
from tests.service.catalogue.wire import CLOSED, MARKER, Wire
from tests.waiting import wait_until
from worker.attempts import run_attempt
from worker.settings import WorkerSettings

ROWS = {
    **images.ROWS,
    **connections.ROWS,
    **forms.ROWS,
    **documents.ROWS,
    **access.ROWS,
    **artifacts.ROWS,
}
N_ROWS = 121
LEAKS = (
    "Traceback",
    "site-packages",
    "/usr",
    "/home",
    "SELECT ",
    "INSERT ",
    "psycopg",
    ".py",
    MARKER,
)
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def sessions(engine):
    """Sessions on a database that is empty before and after this module."""
    factory = make_session_factory(engine)
    _clear(factory)
    yield factory
    _clear(factory)


def _clear(factory):
    with factory.begin() as session:
        for table in (LearnerRow, KeyRow, IdempotencyRow, WorkerRow):
            session.execute(delete(table))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data directory, with the temporary files of this process in it."""
    path = tmp_path_factory.mktemp("catalogue")
    (path / "tmp").mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(path / "tmp")
    yield path
    tempfile.tempdir = before


@pytest.fixture(scope="module")
def log(folder):
    """The file that everything is logged to meanwhile."""
    path = folder / "log"
    before = structlog.get_config()
    with path.open("w") as file:
        structlog.configure(
            processors=[
                structlog.stdlib.add_log_level,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
            logger_factory=structlog.PrintLoggerFactory(file),
        )
        handler = logging.StreamHandler(file)
        logging.getLogger().addHandler(handler)
        yield path
        logging.getLogger().removeHandler(handler)
        structlog.configure(**before)


@pytest.fixture(scope="module")
def role_keys(sessions):
    with sessions.begin() as session:
        return {role: keys.create_key(session, role, role)[1] for role in ROLES}


@pytest.fixture(scope="module")
def app(folder, sessions):
    settings = ServiceSettings(
        data_dir=folder,
        host="127.0.0.1",
        port=0,
        device="cpu",
        watch_s=0.1,
        min_free_bytes=0,
        decode_threads=2,
        request_deadline_s=0.5,
        allowed_hosts=("127.0.0.1",),
        max_task_images=60,
        max_task_bytes=64 * MIB,
    )
    return create_app(settings, sessions, LocalBlobStore(folder / "blobs"))


@pytest.fixture(scope="module")
def port(app, log, role_keys):
    """Port of the app, served as `filopodia serve` does."""
    settings = app.state.context.settings
    with listening(settings) as listener:
        server = uvicorn.Server(server_config(app, settings, Connections(settings.max_connections)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_until(lambda: server.started)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def wire(app, port, role_keys, sessions, postgres, folder):
    wire = Wire(port, role_keys, app, "birds")
    body = {"name": "birds", "strategy": "simplecil", "backbone": "tiny"}
    assert wire.json("POST", "/v1/learners", body).status == httpx.codes.CREATED
    files = [
        ("images", (f"{label}/{i}.png", make_image(label, i)))
        for label in ("heron", "egret")
        for i in range(6)
    ]
    answer = wire.send("POST", "/v1/learners/birds/tasks", files=files)
    assert answer.status == httpx.codes.ACCEPTED, answer.text
    task = answer.json()["id"]
    with sessions.begin() as session:
        token = queue.claim(session, task, "tests", 60).token
    run_attempt(
        task,
        token,
        session_factory=sessions,
        blobs=app.state.context.blobs,
        settings=WorkerSettings(data_dir=folder, database_url=postgres.url, device="cpu"),
    )
    wait_until(lambda: wire.predict(make_image()).status == httpx.codes.OK)
    yield wire
    wire.close()


def test_the_table_has_all_rows():
    assert sorted(ROWS) == list(range(1, N_ROWS + 1))
    assert all(cases for _, cases in ROWS.values())
    assert all(code in PROBLEMS for _, code in _expected() if code is not None)


def _expected():
    return [pair for _, cases in ROWS.values() for case in cases for pair in case.expected]


@pytest.mark.parametrize("number", sorted(ROWS), ids=lambda n: f"{n:03}-{ROWS[n][0]}")
def test_row(number, wire, subtests):
    for case in ROWS[number][1]:
        with subtests.test(case=case.name):
            answer = case.send(wire)
            code = check(answer, wire)
            assert (answer.status, code) in case.expected, answer.text[:2000]
            if case.then is not None:
                case.then(wire, answer)


def check(answer, wire):
    """Check what holds for every answer, and return its problem code."""
    if answer.status == CLOSED:
        assert answer.body == b""
        return None
    assert answer.status < 500 or answer.status in (503, 507), answer.text
    if answer.status < 400:
        return None
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    code = problem["code"]
    kind = PROBLEMS[code]
    assert problem["type"] == f"/problems/{code}"
    assert (problem["status"], problem["title"]) == (answer.status, kind.title)
    assert answer.status == kind.status
    assert problem["retryable"] == kind.retryable
    assert problem["instance"] == f"urn:filopodia:request:{problem['request_id']}"
    assert problem["request_id"] == answer.headers.get("x-request-id", problem["request_id"])
    assert all({"pointer", "detail"} <= set(error) for error in problem.get("errors", []))
    assert problem["detail"].endswith((".", "`"))
    assert leaks_in(answer.text, wire) == []
    return code


def leaks_in(text, wire):
    """Return what of the inside, of keys or of the input a text holds."""
    secrets = [key.rpartition("_")[2] for key in wire.keys.values()]
    return [leak for leak in (*LEAKS, *secrets) if leak in text]


def test_afterwards_everything_is_as_before(wire, sessions, folder, log):
    context = wire.app.state.context
    assert wire.predict(make_image("heron", 99)).json()["results"][0]["label"] == "heron"
    assert wire.send("GET", "/readyz").json()["status"] == "ready"
    wait_until(lambda: context.decoder.uploads.slots.borrowed_tokens == 0)
    wait_until(lambda: context.decoder.n_waiting == 0)
    assert list((folder / "tmp").iterdir()) == []
    wait_until(lambda: open_spools(folder) == [])
    assert [p for p in (folder / "blobs").rglob("*") if p.is_file() and "tmp" in p.name] == []
    with sessions() as session:
        n_tasks = session.scalar(select(func.count()).select_from(TaskRow))
        unfinished = select(func.count()).select_from(IdempotencyRow)
        n_open = session.scalar(unfinished.where(IdempotencyRow.status_code.is_(None)))
    assert n_tasks == wire.n_tasks
    assert n_open == 0
    text = log.read_text()
    assert leaks_in(text, wire) == [], text[-3000:]


def open_spools(folder: Path) -> list[str]:
    """Return the files of our temporary folder that this process still holds open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith(str(folder / "tmp")):
            found.append(target)
    return found

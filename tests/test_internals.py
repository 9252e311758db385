"""What we use of libraries that they do not promise, one by one: each failure says where to look.

Their versions have an upper bound in pyproject.toml. To raise one, install the newer version and run this file: what
fails has changed, and what of ours uses it may have to change as well.
"""

import asyncio
import inspect
import socket
from pathlib import Path
from typing import Any

import httptools
import pytest
import torch
import uvicorn
from fastapi import FastAPI, sse
from fastapi.datastructures import DefaultPlaceholder
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.utils import is_body_allowed_for_status_code
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.transport.virtual import Empty
from packaging.utils import canonicalize_name
from pydantic import BaseModel
from starlette.requests import Request
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tests.declared import requirements

ROOT = Path(__file__).parent.parent
PROTOCOL, SERVER = "service/http/protocol.py", "service/server.py"
BOUNDED = ("fastapi", "httptools", "kombu", "starlette", "uvicorn")

SIGNATURES = [
    (PROTOCOL, HttpToolsProtocol.__init__, "(self, config, server_state, app_state, _loop=None)"),
    (PROTOCOL, HttpToolsProtocol.connection_made, "(self, transport)"),
    (PROTOCOL, HttpToolsProtocol.connection_lost, "(self, exc)"),
    (PROTOCOL, HttpToolsProtocol.data_received, "(self, data)"),
    (PROTOCOL, HttpToolsProtocol.eof_received, "(self)"),
    (PROTOCOL, HttpToolsProtocol.pause_writing, "(self)"),
    (PROTOCOL, HttpToolsProtocol.resume_writing, "(self)"),
    (PROTOCOL, HttpToolsProtocol.shutdown, "(self)"),
    (PROTOCOL, HttpToolsProtocol.on_message_begin, "(self)"),
    (PROTOCOL, HttpToolsProtocol.on_headers_complete, "(self)"),
    (PROTOCOL, HttpToolsProtocol.on_body, "(self, body)"),
    (PROTOCOL, HttpToolsProtocol.on_message_complete, "(self)"),
    (PROTOCOL, HttpToolsProtocol.on_response_complete, "(self)"),
    (PROTOCOL, HttpToolsProtocol.send_400_response, "(self, msg)"),
    (PROTOCOL, HttpToolsProtocol._unsupported_upgrade_warning, "(self)"),
    (PROTOCOL, HttpToolsProtocol._unset_keepalive_if_required, "(self)"),
    (PROTOCOL, FlowControl.__init__, "(self, transport)"),
    (PROTOCOL, FlowControl.pause_reading, "(self)"),
    (PROTOCOL, FlowControl.resume_reading, "(self)"),
    (SERVER, uvicorn.Server.__init__, "(self, config)"),
    (SERVER, uvicorn.Server.startup, "(self, sockets=None)"),
    (SERVER, uvicorn.Server.handle_exit, "(self, sig, frame)"),
    (SERVER, uvicorn.Server.on_tick, "(self, counter)"),
    (SERVER, uvicorn.Server.shutdown, "(self, sockets=None)"),
    ("service/http/middleware.py", ProxyHeadersMiddleware.__init__,
     "(self, app, trusted_hosts='127.0.0.1')"),
    ("service/http/strict_route.py", APIRoute.get_route_handler, "(self)"),
    ("service/strict_json.py", Request.json, "(self)"),
    ("service/http/strict_route.py", is_body_allowed_for_status_code, "(status_code)"),
    ("service/dashboard/forms.py", Request.form,
     "(self, *, max_files=1000, max_fields=1000, max_part_size=1048576)"),
    ("service/use_cases/event_stream.py", sse.format_sse_event,
     "(*, data_str=None, event=None, id=None, retry=None, comment=None)"),
    ("worker/broker.py", redis.Channel._brpop_read, "(self, **options)"),
]  # fmt: skip
"""Who uses it, what we override or call, and how that is called."""

STEPS = [
    (PROTOCOL, HttpToolsProtocol.connection_made, ("self.flow = FlowControl(transport)",)),
    (PROTOCOL, HttpToolsProtocol.data_received, (
        "self._unset_keepalive_if_required()", "self.parser.feed_data(data)", "self.send_400_response(")),
    (PROTOCOL, HttpToolsProtocol.on_headers_complete, (
        "self.pipeline.appendleft(", "on_response=self.on_response_complete")),
    (PROTOCOL, HttpToolsProtocol.on_response_complete, (
        "self.pipeline.pop()", "self.flow.resume_reading()")),
    (PROTOCOL, HttpToolsProtocol.timeout_keep_alive_handler, ("self.transport.close()",)),
    (PROTOCOL, HttpToolsProtocol.shutdown, ("self.cycle.keep_alive = False",)),
    (PROTOCOL, RequestResponseCycle.send, (
        "self.disconnected", "self.keep_alive", "self.response_started",
        "self.expected_content_length -= num_bytes", "self.transport.close()", "self.on_response()")),
    (PROTOCOL, RequestResponseCycle.receive, (
        "self.message_event", "self.disconnected", "self.flow.resume_reading()")),
    (SERVER, uvicorn.Server._serve, ("self.lifespan = ", "self.startup(", "self.shutdown(")),
    (SERVER, uvicorn.Server.startup, (
        "await self.lifespan.startup()", "create_server", "config.http_protocol_class")),
    (SERVER, uvicorn.Server.on_tick, ("self.should_exit",)),
    (SERVER, uvicorn.Server.shutdown, (
        "server.close()", "connection.shutdown()", "timeout_graceful_shutdown")),
    (SERVER, uvicorn.Server.handle_exit, (
        "self._captured_signals.append", "self.should_exit", "self.force_exit")),
]  # fmt: skip
"""Who relies on it, and what a method of uvicorn has to do, in its words: no signature shows that."""


def names_of(entries):
    return [entry[1].__qualname__ for entry in entries]


def look_at(user: str, part: Any) -> str:
    return f"{part.__module__}.{part.__qualname__} has changed: look at what {user} does with it"


def shape(function: Any) -> str:
    """Return a signature without its types."""
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    bare = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    return str(bare)


@pytest.mark.parametrize(("user", "part", "expected"), SIGNATURES, ids=names_of(SIGNATURES))
def test_it_is_called_as_we_call_it(user, part, expected):
    assert shape(part) == expected, look_at(user, part)


@pytest.mark.parametrize(("user", "part", "needed"), STEPS, ids=names_of(STEPS))
def test_it_does_what_we_rely_on(user, part, needed):
    source = inspect.getsource(part)
    missing = [step for step in needed if step not in source]
    assert missing == [], look_at(user, part)


def missing_in(thing: Any, *names: str) -> list[str]:
    return [name for name in names if not hasattr(thing, name)]


def test_a_protocol_has_what_ours_uses_while_it_answers():
    missing = asyncio.run(missing_while_answering())
    assert missing == [], f"uvicorn's protocol has changed: look at what {PROTOCOL} does with these"


async def missing_while_answering() -> list[str]:
    """Let uvicorn's own protocol answer a request over a real socket, and look at it meanwhile."""
    missing: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        missing.extend(missing_in(protocol, "app", "client", "connections", "cycle", "flow"))
        missing.extend(missing_in(protocol, "headers", "loop", "pipeline", "transport"))
        missing.extend(missing_in(protocol, "timeout_keep_alive_task", "server_state"))
        missing.extend(missing_in(protocol.cycle, "scope", "response_started", "response_complete"))
        missing.extend(missing_in(protocol.cycle, "keep_alive", "expected_content_length"))
        missing.extend(missing_in(protocol.cycle, "disconnected", "message_event"))
        missing.extend(missing_in(protocol.flow, "read_paused", "write_paused"))
        missing.extend(missing_in(protocol.pipeline, "appendleft", "pop", "popleft", "clear"))
        missing.extend([] if "state" in scope else ["scope['state']"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    protocol = HttpToolsProtocol(uvicorn.Config(app, lifespan="off", ws="none"), ServerState(), {})
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, ours)
    reader, writer = await asyncio.open_connection(sock=theirs)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 204")
    return missing


def test_a_server_has_what_ours_uses():
    config = uvicorn.Config(FastAPI(), http=HttpToolsProtocol, ws="none")
    server = uvicorn.Server(config)
    config.load()
    missing = missing_in(config, "app", "http_protocol_class", "backlog", "timeout_keep_alive")
    missing += missing_in(server, "config", "server_state", "started", "should_exit")
    missing += missing_in(server, "force_exit", "_captured_signals")
    missing += missing_in(config.lifespan_class(config), "startup", "state")
    assert missing == [], f"uvicorn's server has changed: look at what {SERVER} does with these"
    assert config.http_protocol_class is HttpToolsProtocol


class Recorder:
    """What httptools tells of."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *_: self.told.append(name)


def test_the_parser_tells_of_a_request_in_the_order_we_count_on():
    recorder = Recorder()
    parser = httptools.HttpRequestParser(recorder)
    parser.feed_data(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    begun = ["on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body"]
    told = [name for name in recorder.told if name in {*begun, "on_message_complete"}]
    assert list(dict.fromkeys(told)) == begun, f"httptools has changed: look at {PROTOCOL}"
    parser.feed_data(b"cd")
    assert recorder.told[-1] == "on_message_complete", f"httptools has changed: look at {PROTOCOL}"


class Body(BaseModel):
    """A body in JSON."""


def test_a_route_has_what_ours_uses():
    app = FastAPI()

    @app.post("/with", response_model=Body, responses={200: {"content": {"text/csv": {}}}})
    def with_body(body: Body) -> Any: ...

    @app.get("/without", status_code=204)
    def without() -> None: ...

    seen = [route for route in app.routes if isinstance(route, APIRoute)]
    user = "service/http/strict_route.py"
    names = ("body_field", "dependencies", "responses", "response_class", "response_model")
    missing = [name for route in seen for name in missing_in(route, *names, "status_code")]
    assert missing == [], f"FastAPI's route has changed: look at what {user} does with these"
    assert [route.body_field is None for route in seen] == [False, True], user
    assert isinstance(seen[0].response_class, DefaultPlaceholder), user
    assert seen[0].response_class.value is JSONResponse, user
    assert [is_body_allowed_for_status_code(code) for code in (None, 200, 204)] == [
        True,
        True,
        False,
    ]


def test_a_sign_of_life_is_a_comment():
    user = "service/use_cases/event_stream.py"
    assert sse.KEEPALIVE_COMMENT == b": ping\n\n", user
    assert sse.format_sse_event(data_str="{}", event="end", id="9") == (
        b"event: end\ndata: {}\nid: 9\n\n"
    ), user


def test_a_channel_of_redis_reads_through_what_ours_wraps():
    user = "worker/broker.py"
    assert redis.Transport.Channel is redis.Channel, user
    assert TRANSPORT_ALIASES["redis"].endswith(":Transport"), user
    assert issubclass(Empty, Exception), user
    assert "'BRPOP': self._brpop_read" in inspect.getsource(redis.Channel.__init__), user


def test_changes_of_a_tensor_in_place_are_counted():
    user = "models/artifact.py tells by it that a file need not be packed again"
    tensor = torch.zeros(2)
    seen = tensor.detach()
    before = tensor._version
    seen[0] = 1
    assert tensor._version == seen._version > before, user


@pytest.mark.parametrize("name", BOUNDED)
def test_what_changes_as_it_likes_has_an_upper_bound(name):
    declared = {canonicalize_name(needed.name): needed for needed in requirements("server")}
    assert name in declared
    operators = {specifier.operator for specifier in declared[name].specifier}
    assert "<" in operators, f"{name} without an upper bound"
